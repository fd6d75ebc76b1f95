// Small helpers for elements.

export function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function fromTemplate(id) {
  const panel = document.getElementById(id).content.cloneNode(true).firstElementChild;
  document.getElementById("main").append(panel);
  return panel;
}

export function say(text) {
  document.getElementById("announcer").textContent = text;
}

// Shows an error at the place where it was made; an empty text hides it.
export function complain(place, text, field = null) {
  place.hidden = !text;
  place.textContent = text;
  if (!field) return;
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// What stands in a queue, in words.
export function placeText(before) {
  return before ? `${count(before, "request")} before yours in the queue` : "Yours is next";
}

// A file that is chosen or dropped on `area`.
export function onFile(area, input, take) {
  input.addEventListener("change", () => input.files[0] && take(input.files[0]));
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    if (!event.dataTransfer.files[0]) return;
    input.files = event.dataTransfer.files; // its name is shown there
    take(input.files[0]);
  });
}

// Bars of [name, share, note] in a list.
export function drawBars(list, rows) {
  list.replaceChildren();
  for (const [name, share, note] of rows) {
    const row = make("div", "bar");
    row.setAttribute("role", "listitem");
    const track = make("span", "track");
    const fill = make("span", "fill");
    fill.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    track.append(fill);
    row.append(make("span", "name", name), track, make("span", "share", note));
    list.append(row);
  }
}

export function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`; // on one line
}

// The panel that predicts outcomes of a file: bars, tables, and the picture where the file is one.
import { post } from "./api.js";
import { complain, drawBars, fromTemplate, make, onFile, percent, say } from "./dom.js";

export class PredictPanel {
  constructor(model) {
    this.panel = fromTemplate("predict-panel");
    this.find = (selector) => this.panel.querySelector(selector);
    this.find(".options").append(...model.options.map(makeOption));
    this.note = model.note && `${model.note[0].toUpperCase()}${model.note.slice(1)}.`;
    complain(this.find(".note"), this.note);
    onFile(this.find(".drop"), this.find(".file"), (file) => this.take(file));
    this.find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    this.find(".cancel").addEventListener("click", () => this.controller?.abort());
  }

  take(file) {
    this.controller?.abort();
    this.controller = null;
    this.file = file;
    const preview = this.find(".preview");
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.hidden = !file.type.startsWith("image/");
    preview.alt = file.name;
    preview.onerror = () => (preview.hidden = true); // a picture that browsers do not show
    if (!preview.hidden) preview.src = URL.createObjectURL(file);
    this.find(".outcomes").replaceChildren(); // those of another file
    complain(this.find(".file-error"), "");
    this.setBusy(false, "Press Predict.");
  }

  async run() {
    if (!this.file) {
      complain(this.find(".file-error"), "no file is chosen; choose one or drop it above");
      return;
    }
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    const query = new URLSearchParams({ name: this.file.name });
    for (const input of this.panel.querySelectorAll(".options input")) {
      const value = input.type === "checkbox" ? String(input.checked) : input.value.trim();
      if (value && value !== input.dataset.default) query.set(input.name, value);
    }
    complain(this.find(".file-error"), "");
    this.find(".outcomes").replaceChildren();
    this.setBusy(true, "Thinking…");
    try {
      this.show(await post(`/api/predict?${query}`, this.file, controller.signal));
      this.setBusy(false, "Done");
    } catch (error) {
      if (controller !== this.controller) return; // another file is asked about
      const isCancelled = error.name === "AbortError";
      this.setBusy(false, isCancelled ? "Cancelled" : "No outcome");
      if (!isCancelled) complain(this.find(".file-error"), error.message);
    }
  }

  setBusy(isBusy, text) {
    this.find(".cancel").hidden = !isBusy;
    this.find(".status").textContent = text;
    this.find(".answered").setAttribute("aria-busy", String(isBusy));
  }

  show({ record, pages }) {
    const place = this.find(".outcomes");
    const found = sharesIn(record);
    const spoken = [];
    const [first] = pages;
    const isHeaded = typeof first === "string" && !isShown(first, found.length, this.note);
    if (isHeaded) this.showPage(first, place, spoken);
    for (const [title, shares] of found) {
      const bars = make("div", "bars");
      bars.setAttribute("role", "list");
      bars.setAttribute("aria-label", title);
      const rows = Object.entries(shares).map(([name, share]) => [name, share, percent(share)]);
      drawBars(bars, rows);
      spoken.push(`${title}: ${rows.map(([name, , share]) => `${name} ${share}`).join(", ")}`);
      place.append(make("h3", "", title), bars);
    }
    for (const page of pages.slice(isHeaded ? 1 : 0)) {
      if (typeof page !== "string") place.append(makeTable(page));
      else if (!isShown(page, found.length, this.note)) this.showPage(page, place, spoken);
    }
    say([...spoken, this.note].filter(Boolean).join(" ") || "Done");
  }

  showPage(text, place, spoken) {
    place.append(make("p", "page", text.trimEnd()));
    spoken.push(text);
  }
}

function makeOption({ name, help, default: value, is_flag: isFlag }) {
  const label = make("label", "", name.replaceAll("_", " "));
  const input = make("input");
  input.name = name;
  input.type = isFlag ? "checkbox" : "text";
  input.dataset.default = String(value ?? (isFlag ? false : ""));
  if (isFlag) input.checked = Boolean(value);
  else input.value = value ?? "";
  label.append(input, make("small", "", help));
  return label;
}

// True for a page that stands elsewhere: the note, or the bars that a terminal shows in a page of several lines.
function isShown(page, hasBars, note) {
  return page === note || (hasBars && page.trimEnd().includes("\n"));
}

// Objects of a record whose values are shares, with their names: the first in each object, for others are beside it in a table.
function sharesIn(value, name = "outcomes") {
  if (value === null || typeof value !== "object") return [];
  const inside = Object.values(value);
  const areShares = inside.length > (name === "chances" ? 0 : 1) && inside.every((each) => typeof each === "number" && each >= 0 && each <= 1);
  if (areShares && !Array.isArray(value)) return [[name.replaceAll("_", " "), value]];
  if (Array.isArray(value)) return value.flatMap((each) => sharesIn(each, name));
  return Object.entries(value).map(([key, each]) => sharesIn(each, key)).find((found) => found.length) ?? [];
}

function makeTable({ title, columns, rows }) {
  const table = make("table");
  table.append(make("caption", "", title));
  const head = table.createTHead().insertRow();
  for (const column of columns) {
    const cell = make("th", "", column);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const text of row) line.insertCell().textContent = text;
  }
  return table;
}

// The curve of q_halt over ACT steps, with q_continue where it is known.

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [480, 150, 40, 14, 12, 24];
const NS = "http://www.w3.org/2000/svg";

function shape(name, attributes, text = "") {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

// Draws values of each step, [q_halt, q_continue] or [q_halt]; `onChoose` receives a step from 1.
export function drawCurve(figure, values, shown, numSteps, onChoose) {
  figure.querySelector("svg")?.remove();
  const all = values.flat();
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const room = (high - low || 1) * 0.08;
  const x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * (step - 1)) / Math.max(1, numSteps - 1);
  const y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * (high + room - value)) / (high - low + 2 * room);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const words = values.map(([halt], index) => `step ${index + 1}: ${halt.toFixed(1)}`);
  svg.setAttribute("aria-label", `q_halt by step. ${words.join("; ")}`);
  svg.append(shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(0), y2: y(0), class: "zero" }));
  for (const value of new Set([low, 0, high])) {
    svg.append(shape("text", { x: LEFT - 6, y: y(value) + 4, class: "tick end" }, value.toFixed(0)));
  }
  for (const step of ticks(numSteps)) {
    svg.append(shape("text", { x: x(step), y: HEIGHT - 6, class: "tick middle" }, step));
  }
  const place = (column) => values.map((value, index) => `${x(index + 1)},${y(value[column])}`).join(" ");
  if (values[0]?.length > 1) svg.append(shape("polyline", { points: place(1), class: "continue" }));
  svg.append(shape("line", { x1: x(shown), x2: x(shown), y1: TOP, y2: HEIGHT - BOTTOM, class: "now" }));
  svg.append(shape("polyline", { points: place(0), class: "halt" }));
  values.forEach(([halt], index) => {
    const isNow = index + 1 === shown;
    const dot = shape("circle", { cx: x(index + 1), cy: y(halt), r: isNow ? 6 : 4, class: "halt" });
    dot.addEventListener("click", () => onChoose(index + 1));
    svg.append(dot);
  });
  figure.prepend(svg);
}

function ticks(numSteps) {
  const every = Math.ceil(numSteps / 12);
  return Array.from({ length: numSteps }, (_, index) => index + 1).filter(
    (step) => step === 1 || step % every === 0,
  );
}

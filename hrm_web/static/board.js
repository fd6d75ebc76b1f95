// A board of cells, to fill in or to look at. Tokens are numbers; `editor.kinds` says how each looks.
import { make } from "./dom.js";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const INK = "#1c1e24"; // the ink of pictures; it needs another shade on a dark page
const LARGEST = 56; // pixels of a cell

export class Board {
  constructor(editor, label, onChange = null) {
    this.editor = editor;
    this.onChange = onChange; // a board without it is only looked at
    this.tool = editor.blank;
    this.element = make("div", "board");
    this.element.setAttribute("role", "grid");
    this.element.classList.toggle("tiled", editor.is_painted);
    this.element.setAttribute("aria-label", label);
    if (!onChange) this.element.setAttribute("aria-readonly", "true");
    this.focused = 0;
    this.resize(editor.height, editor.width);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("focusin", (event) => this.moveFocus(this.indexOf(event.target)));
    if (onChange) this.listenToPointer();
  }

  resize(height, width) {
    this.height = height;
    this.width = width;
    this.tokens = new Array(height * width).fill(this.editor.blank);
    this.cells = [];
    this.focused = 0;
    const rows = [];
    for (let row = 0; row < height; row++) {
      const line = make("div", "row");
      line.setAttribute("role", "row");
      for (let column = 0; column < width; column++) line.append(this.makeCell(row, column));
      rows.push(line);
    }
    this.element.replaceChildren(...rows);
    this.element.style.setProperty("--columns", width);
    this.element.style.setProperty("--rows", height);
    this.element.style.maxWidth = `${Math.max(width * LARGEST, 120)}px`;
    this.cells[0].tabIndex = 0;
    this.draw();
  }

  makeCell(row, column) {
    const cell = make("div", "cell");
    cell.setAttribute("role", "gridcell");
    cell.tabIndex = -1;
    const [boxRows, boxColumns] = this.editor.box ?? [0, 0];
    if (boxRows && (row + 1) % boxRows === 0) cell.classList.add("heavy-below");
    if (boxColumns && (column + 1) % boxColumns === 0) cell.classList.add("heavy-right");
    this.cells.push(cell);
    return cell;
  }

  // Marks are sets of places: given, changed, conflicts.
  draw(marks = {}) {
    this.tokens.forEach((token, place) => this.drawCell(place, token, marks));
  }

  drawCell(place, token, marks) {
    const cell = this.cells[place];
    const kind = this.editor.kinds[token];
    const isBlank = token === this.editor.blank;
    const isDot = this.editor.is_painted && !kind.is_asked && kind.symbol;
    const isGiven = marks.given ? marks.given.has(place) : !isBlank;
    const isHidden = isDot || kind.colour || (isBlank && kind.symbol === ".");
    const shown = isHidden ? "" : kind.symbol;
    if (cell.textContent !== shown) cell.textContent = shown;
    cell.style.backgroundColor = kind.colour ?? "";
    cell.classList.toggle("coloured", Boolean(kind.colour));
    cell.classList.toggle("inked", kind.colour === INK);
    cell.classList.toggle("dot", Boolean(isDot));
    cell.classList.toggle("outside", !kind.symbol);
    cell.classList.toggle("given", isGiven && !kind.colour && !isBlank);
    const notes = [kind.name];
    for (const [name, words] of [["changed", "changed"], ["conflicts", "breaks a rule"]]) {
      const isMarked = Boolean(marks[name]?.has(place));
      cell.classList.toggle(name, isMarked);
      if (isMarked) notes.push(words);
    }
    const row = Math.floor(place / this.width) + 1;
    cell.setAttribute("aria-label", `row ${row}, column ${(place % this.width) + 1}: ${notes.join(", ")}`);
  }

  get text() {
    const rows = [];
    for (let start = 0; start < this.tokens.length; start += this.width) {
      const row = this.tokens.slice(start, start + this.width);
      rows.push(row.map((token) => this.editor.kinds[token].symbol).join(""));
    }
    return rows.join("\n");
  }

  // Puts a token into a cell, as a person does.
  enter(place, token) {
    if (!this.onChange || this.tokens[place] === token) return;
    if (this.editor.kinds[token].is_single) {
      this.tokens = this.tokens.map((other) => (other === token ? this.editor.blank : other));
    }
    this.tokens[place] = token;
    this.draw();
    this.onChange();
  }

  tokenOf(symbol) {
    return this.editor.kinds.findIndex((kind) => kind.is_asked && kind.symbol === symbol);
  }

  moveFocus(place) {
    if (place < 0) return;
    this.cells[this.focused].tabIndex = -1;
    this.focused = place;
    this.cells[place].tabIndex = 0;
  }

  indexOf(element) {
    return this.cells.indexOf(element.closest?.(".cell"));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = this.focused;
    const blank = this.editor.blank;
    if (event.key in ARROWS) this.step(place, ...ARROWS[event.key]);
    else if (event.key === "Home") this.cells[place - (place % this.width)].focus();
    else if (event.key === "End") this.cells[place - (place % this.width) + this.width - 1].focus();
    else if (!this.onChange) return;
    else if (event.key === "Backspace" || event.key === "Delete") this.enter(place, blank);
    else if (event.key === "Enter" || (event.key === " " && this.tokenOf(" ") < 0)) {
      this.enter(place, this.editor.is_painted ? this.tool : blank);
    } else {
      const token = this.tokenOf(event.key) >= 0 ? this.tokenOf(event.key) : this.tokenOf(event.key.toUpperCase());
      if (token < 0) return;
      this.enter(place, token);
    }
    event.preventDefault();
  }

  step(place, down, right) {
    const row = Math.floor(place / this.width) + down;
    const column = (place % this.width) + right;
    if (row < 0 || column < 0 || row >= this.height || column >= this.width) return;
    this.cells[row * this.width + column].focus();
  }

  listenToPointer() {
    let isPainting = false;
    const paint = (event) => {
      const place = this.indexOf(document.elementFromPoint(event.clientX, event.clientY) ?? this.element);
      if (place >= 0) this.enter(place, this.tool);
    };
    this.element.classList.toggle("painted", this.editor.is_painted);
    this.element.addEventListener("pointerdown", (event) => {
      const place = this.indexOf(event.target);
      if (place < 0) return;
      this.cells[place].focus();
      if (!this.editor.is_painted) return;
      isPainting = true;
      this.element.releasePointerCapture?.(event.pointerId);
      paint(event);
    });
    this.element.addEventListener("pointermove", (event) => isPainting && paint(event));
    for (const name of ["pointerup", "pointercancel"]) {
      document.addEventListener(name, () => { isPainting = false; });
    }
  }
}

// The rectangle around all cells of a canvas that lie inside of a grid.
export function viewOf(editor, canvases) {
  if (!editor.is_sized) return { height: editor.height, width: editor.width };
  let [height, width] = [1, 1];
  for (const tokens of canvases) {
    tokens.forEach((token, place) => {
      if (!editor.kinds[token].symbol) return;
      height = Math.max(height, Math.floor(place / editor.width) + 1);
      width = Math.max(width, (place % editor.width) + 1);
    });
  }
  return { height, width };
}

// Shows a part of a canvas on a board. `marks` are sets of places of the canvas.
export function showCanvas(board, tokens, view, marks = {}) {
  if (board.height !== view.height || board.width !== view.width) board.resize(view.height, view.width);
  const canvasWidth = board.editor.width;
  const places = board.tokens.map((_, place) => {
    return Math.floor(place / view.width) * canvasWidth + (place % view.width);
  });
  board.tokens = places.map((place) => tokens[place]);
  const moved = {};
  for (const [name, marked] of Object.entries(marks)) {
    moved[name] = new Set(places.flatMap((place, own) => (marked.has(place) ? [own] : [])));
  }
  board.draw(moved);
}

function toolText(editor, token) {
  const { symbol, name } = editor.kinds[token];
  if (token !== editor.blank || symbol !== ".") return symbol.trim() || name;
  return editor.is_painted ? name : "⌫";
}

// The buttons below a board: tools to paint with, or symbols for the chosen cell.
export function makePalette(board, place) {
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", board.editor.is_painted ? "Tools" : "Symbols for the chosen cell");
  board.editor.kinds.forEach((kind, token) => {
    if (!kind.is_asked) return;
    const button = make("button", "tool", kind.colour ? "" : toolText(board.editor, token));
    button.type = "button";
    button.title = kind.name;
    button.setAttribute("aria-label", kind.name);
    button.style.backgroundColor = kind.colour ?? "";
    button.classList.toggle("inked", kind.colour === INK);
    if (board.editor.is_painted) button.setAttribute("aria-pressed", String(token === board.tool));
    button.addEventListener("click", () => {
      board.tool = token;
      if (!board.editor.is_painted) {
        board.enter(board.focused, token);
        return;
      }
      for (const other of place.children) other.setAttribute("aria-pressed", String(other === button));
    });
    place.append(button);
  });
  if (board.editor.is_painted) {
    board.tool = board.editor.kinds.findIndex((kind) => kind.is_asked);
    [...place.children].forEach((button, number) => button.setAttribute("aria-pressed", String(number === 0)));
  }
}

// The left side of the panel that solves: a board to fill in, a text to paste, a file, or a puzzle on offer.
import { get, post } from "./api.js";
import { Board, makePalette, showCanvas, viewOf } from "./board.js";
import { complain, onFile } from "./dom.js";

const TYPING = 350; // milliseconds after which a typed text is read

export class Question {
  constructor(model, panel, solve) {
    this.model = model;
    this.find = (selector) => panel.querySelector(selector);
    this.puzzles = []; // that the server has read
    this.onSolve = solve;
    this.isTyping = false; // a typed text waits to be read
    this.textarea = this.find("textarea");
    const { editor, samples, names } = model;
    if (editor) {
      this.board = new Board(editor, "Puzzle", () => this.onDrawn());
      this.find(".question").append(this.board.element);
      makePalette(this.board, this.find(".palette"));
      this.makeSizes();
    } else {
      this.find("details").open = true;
      this.find(".clear").hidden = true;
    }
    if (samples) this.makeSamples(samples);
    if (this.model.has_names) {
      this.find(".naming").hidden = false;
      this.find("datalist").append(...names.map((name) => new Option(name)));
    }
    this.textarea.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.isTyping = true;
      this.typing = setTimeout(() => this.readText(), TYPING);
    });
    this.textarea.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.solve();
    });
    onFile(this.find(".asked"), this.find("input[type=file]"), (file) => this.readFile(file));
    this.find(".which").addEventListener("change", (event) => this.choose(Number(event.target.value)));
    this.find(".clear").addEventListener("click", () => this.clear());
    if (samples) this.takeSample();
  }

  // Asks for what was typed last, unless it is no puzzle.
  async solve(options) {
    if (this.isTyping) await this.readText();
    if (this.isWrong) this.textarea.focus();
    else this.onSolve(options);
  }

  makeSizes() {
    const { editor } = this.model;
    if (!editor.is_sized) return;
    this.find(".sizes").hidden = false;
    const [rows, columns] = [this.find(".rows"), this.find(".columns")];
    rows.max = editor.height;
    columns.max = editor.width;
    const resize = () => {
      if (!rows.reportValidity() || !columns.reportValidity()) return;
      const { tokens, width, height } = this.board;
      this.board.resize(Number(rows.value), Number(columns.value));
      this.board.tokens = this.board.tokens.map((blank, place) => {
        const [row, column] = [Math.floor(place / this.board.width), place % this.board.width];
        return row < height && column < width ? tokens[row * width + column] : blank;
      });
      this.board.draw();
      this.onDrawn();
    };
    rows.addEventListener("change", resize);
    columns.addEventListener("change", resize);
    this.showSizes();
  }

  showSizes() {
    this.find(".rows").value = this.board.height;
    this.find(".columns").value = this.board.width;
  }

  makeSamples({ source, bands }) {
    const form = this.find(".sample");
    form.hidden = false;
    form.title = `From ${source}`;
    const select = this.find(".band");
    select.hidden = !bands.length;
    select.append(new Option("any difficulty", ""));
    bands.forEach((band, number) => select.append(new Option(`difficulty ${band}`, number)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.takeSample();
    });
  }

  async takeSample() {
    const number = Math.floor(Math.random() * 1e9);
    const buttons = [this.find(".solve"), this.find(".votes"), this.find(".sample button")];
    for (const button of buttons) button.disabled = true; // until the board shows what would be asked
    try {
      const puzzle = await get(`/api/sample?number=${number}&band=${this.find(".band").value}`);
      this.take([puzzle]);
    } catch (error) {
      complain(this.find(".board-error"), error.message);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }

  // A puzzle was drawn on the board.
  onDrawn() {
    this.textarea.value = this.board.text;
    this.puzzles = [];
    this.isFromText = false;
    this.find(".chooser").hidden = true;
    this.forgive();
  }

  clear() {
    this.board.resize(this.board.height, this.board.width);
    this.onDrawn();
    this.board.cells[0].focus();
  }

  async readText() {
    clearTimeout(this.typing);
    this.isTyping = false;
    const text = this.textarea.value;
    if (!text.trim()) return;
    try {
      const { puzzles } = await post("/api/read", text);
      if (text === this.textarea.value) this.take(puzzles, text);
    } catch (error) {
      if (text !== this.textarea.value) return;
      this.isFromText = true;
      this.complain(error.message);
    }
  }

  async readFile(file) {
    this.find("details").open = true;
    try {
      const { puzzles } = await post(`/api/read?name=${encodeURIComponent(file.name)}`, file);
      this.take(puzzles);
    } catch (error) {
      complain(this.find(".text-error"), error.message, this.textarea);
    }
  }

  // Takes puzzles that the server has read; `text` is where they stand, if a person typed it.
  take(puzzles, text = "") {
    this.puzzles = puzzles;
    this.isFromText = Boolean(text);
    this.forgive();
    const which = this.find(".which");
    which.replaceChildren(
      ...puzzles.map((_, number) => new Option(`${number + 1} of ${puzzles.length}`, number)),
    );
    this.find(".chooser").hidden = puzzles.length < 2;
    this.choose(0, text);
  }

  choose(number, text = "") {
    const puzzle = this.puzzles[number];
    if (puzzle.name && this.model.has_names) this.find(".identifier").value = puzzle.name;
    if (this.board) {
      showCanvas(this.board, puzzle.tokens, viewOf(this.model.editor, [puzzle.tokens]));
      this.showSizes();
    }
    if (!text) this.textarea.value = this.board ? this.board.text : puzzle.text;
  }

  // True if the text that was typed is no puzzle.
  get isWrong() {
    return this.isFromText && !this.find(".text-error").hidden;
  }

  // Shows an error where the puzzle was typed or drawn.
  complain(text) {
    if (this.isFromText) complain(this.find(".text-error"), text, this.textarea);
    else complain(this.find(".board-error"), text);
  }

  // Takes every error away.
  forgive() {
    complain(this.find(".text-error"), "", this.textarea);
    complain(this.find(".board-error"), "");
  }

  // What is asked, as the server takes it.
  get wish() {
    const chosen = Number(this.find(".which").value || 0);
    const wish = { puzzles: this.board?.text ?? this.textarea.value, only: this.board ? 0 : chosen };
    const identifier = this.find(".identifier").value.trim();
    if (this.model.has_names) wish.identifier = identifier || "blank";
    const known = this.puzzles[chosen]?.solution;
    if (known) wish.solution = known;
    return wish;
  }
}

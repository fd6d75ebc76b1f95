// The panel that solves puzzles: question on the left, the answer of every ACT step on the right.
import { get, post, watch } from "./api.js";
import { Board, makePalette, showCanvas, viewOf } from "./board.js";
import { drawCurve } from "./curve.js";
import { complain, count, fromTemplate, make, onFile, percent, placeText, say } from "./dom.js";

const PACE = 250; // milliseconds that each step is shown at least
const MORE = 8; // steps
const SYMMETRIES = 8;
const TYPING = 350; // milliseconds after which a typed text is read
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class SolvePanel {
  constructor(model) {
    this.model = model;
    this.panel = fromTemplate("solve-panel");
    this.find = (selector) => this.panel.querySelector(selector);
    this.puzzles = [];
    this.steps = [];
    this.shown = 0;
    this.makeQuestion();
    this.makeAnswer();
    if (model.samples) this.takeSample();
  }

  // The question

  makeQuestion() {
    const { editor, samples, names } = this.model;
    this.textarea = this.find("textarea");
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
      this.typing = setTimeout(() => this.readText(), TYPING);
    });
    this.textarea.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.solve();
    });
    onFile(this.find(".asked"), this.find("input[type=file]"), (file) => this.readFile(file));
    this.find(".which").addEventListener("change", (event) => this.choose(Number(event.target.value)));
    this.find(".solve").addEventListener("click", () => this.solve());
    this.find(".clear").addEventListener("click", () => this.clear());
    this.find(".votes").hidden = !this.model.is_symmetric;
    this.find(".votes").addEventListener("click", () => this.solve({ votes: SYMMETRIES }));
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
      this.complainAtBoard(error.message);
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
    this.complainAtBoard("");
    complain(this.find(".text-error"), "", this.textarea);
  }

  clear() {
    this.board.resize(this.board.height, this.board.width);
    this.onDrawn();
    this.board.cells[0].focus();
  }

  async readText() {
    const text = this.textarea.value;
    if (!text.trim()) return;
    try {
      const { puzzles } = await post("/api/read", text);
      if (text === this.textarea.value) this.take(puzzles, text);
    } catch (error) {
      if (text !== this.textarea.value) return;
      this.isFromText = true;
      complain(this.find(".text-error"), error.message, this.textarea);
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
    complain(this.find(".text-error"), "", this.textarea);
    this.complainAtBoard("");
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

  complainAtBoard(text) {
    complain(this.find(".board-error"), text);
  }

  // The answer

  makeAnswer() {
    if (this.model.editor) {
      this.answer = new Board(this.model.editor, "Answer");
      this.find(".answer").append(this.answer.element);
    } else {
      this.picture = make("img", "picture");
      this.picture.hidden = true;
      this.answerText = make("pre", "answer-text");
      this.find(".answer").append(this.picture, this.answerText);
    }
    this.find(".slider").addEventListener("input", (event) => this.goTo(Number(event.target.value)));
    this.find(".play").addEventListener("click", () => this.replay());
    this.find(".cancel").addEventListener("click", () => this.cancel());
    this.find(".more").addEventListener("click", () => this.more());
    this.find(".halt-row").hidden = !this.model.learns_to_halt;
  }

  get wish() {
    const wish = { puzzles: this.board ? this.board.text : this.textarea.value, only: 0 };
    const identifier = this.find(".identifier").value.trim();
    if (!this.board) wish.only = Number(this.find(".which").value || 0);
    if (this.model.has_names) wish.identifier = identifier || "blank";
    const known = this.puzzles[Number(this.find(".which").value || 0)]?.solution;
    if (known) wish.solution = known;
    return wish;
  }

  solve(options = {}) {
    if (this.isFromText && !this.find(".text-error").hidden) {
      this.textarea.focus();
      return;
    }
    this.asked = this.wish;
    this.steps = [];
    this.shown = 0;
    this.run({ ...this.asked, ...options });
  }

  more() {
    const steps = Math.min(this.steps.length + MORE, this.model.limits.steps);
    this.show(this.steps.length);
    this.steps = [];
    this.run({ ...this.asked, halt: "fixed", steps });
  }

  // Asks the server; steps are shown as they come.
  async run(wish) {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.setBusy(true);
    this.setStatus("Sent");
    try {
      await watch("/api/watch", wish, controller.signal, (name, data) => {
        if (controller === this.controller) this.onEvent(name, data);
      });
    } catch (error) {
      if (controller === this.controller) this.onFailure(error);
    } finally {
      if (controller === this.controller) this.setBusy(false);
    }
  }

  onEvent(name, data) {
    if (name === "place") this.setStatus(placeText(data.before));
    if (name === "thinking") this.forms = data.forms;
    if (name === "done") this.finish(data);
    if (name !== "step") return;
    this.steps.push(data);
    if (!this.timer) this.advance();
    else this.refresh();
  }

  onFailure(error) {
    const isCancelled = error.name === "AbortError";
    const words = isCancelled ? `Cancelled after ${count(this.steps.length, "step")}` : "No answer";
    this.setStatus(words);
    say(words);
    this.find(".player").hidden = !this.steps.length;
    if (isCancelled) return;
    if (this.isFromText) complain(this.find(".text-error"), error.message, this.textarea);
    else this.complainAtBoard(error.message);
  }

  cancel() {
    this.controller?.abort();
    this.find(".solve").focus();
  }

  setBusy(isBusy) {
    this.panel.classList.toggle("busy", isBusy);
    this.find(".cancel").hidden = !isBusy;
    this.find(".answered").setAttribute("aria-busy", String(isBusy));
    if (!isBusy) return;
    this.result = null;
    this.complainAtBoard("");
    for (const selector of [".verdict", ".more", ".attempts"]) this.find(selector).hidden = true;
    this.find(".player").hidden = false;
    this.find(".play").disabled = true;
    const card = this.find(".answered");
    if (card.getBoundingClientRect().top > innerHeight * 0.6) {
      card.scrollIntoView({ behavior: isCalm.matches ? "auto" : "smooth", block: "start" });
    }
  }

  setStatus(text) {
    this.find(".status").textContent = text;
  }

  finish(result) {
    this.result = result;
    const isSame = result.steps.length === this.steps.length
      && result.steps.every((step, index) => String(step.tokens) === String(this.steps[index].tokens));
    if (!isSame) {
      this.steps = result.steps;
      this.show(Math.min(this.shown, this.steps.length));
    }
    this.find(".play").disabled = false;
    if (!this.timer) this.advance();
  }

  // Shows the next step that is there, then waits for a moment.
  advance() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.shown < this.steps.length) {
      this.show(this.shown + 1);
      this.timer = setTimeout(() => this.advance(), isCalm.matches ? 0 : PACE);
    } else if (this.result) this.conclude();
  }

  // Goes to a step that a person chose.
  goTo(number) {
    clearTimeout(this.timer);
    this.timer = null;
    this.show(number);
    if (this.result) this.conclude();
  }

  replay() {
    this.shown = 0;
    this.find(".verdict").hidden = true;
    this.advance();
  }

  show(number) {
    this.shown = number;
    const step = this.steps[number - 1];
    if (!step) return;
    if (this.answer) this.showBoard(step);
    else this.showText(step);
    this.refresh();
    const numbers = this.find(".counts");
    numbers.hidden = false;
    this.find(".num-step").textContent = number;
    this.find(".num-changed").textContent = step.changed.length;
    this.find(".conflicts-row").hidden = !step.conflicts;
    this.find(".num-conflicts").textContent = step.conflicts?.length ?? "";
    this.find(".num-halt").textContent = percent(1 / (1 + Math.exp(-step.q[0])));
    this.find(".slider").setAttribute("aria-valuetext", this.stepText(number, step));
    if (!this.result) this.setStatus(this.forms > 1 ? `Asked in ${this.forms} forms` : `ACT step ${number}`);
    if (document.activeElement !== this.find(".slider")) say(this.stepText(number, step));
  }

  stepText(number, step) {
    const parts = [`ACT step ${number}`, `${count(step.changed.length, "cell")} changed`];
    if (step.conflicts) parts.push(count(step.conflicts.length, "conflict"));
    if (step.accepted) parts.push("accepted by the rules");
    return parts.join(", ");
  }

  showBoard(step) {
    const { editor } = this.model;
    const given = new Set();
    this.questionCanvas().forEach((token, place) => {
      if (token !== editor.blank && token === step.tokens[place]) given.add(place);
    });
    const view = viewOf(editor, this.steps.map((each) => each.tokens));
    const marks = { given, changed: new Set(step.changed), conflicts: new Set(step.conflicts ?? []) };
    showCanvas(this.answer, step.tokens, view, marks);
    this.drawLegend();
  }

  // The question as it was asked, on the canvas of the model.
  questionCanvas() {
    const { editor } = this.model;
    const canvas = new Array(editor.height * editor.width).fill(editor.blank);
    this.asked.puzzles.split("\n").forEach((row, number) => {
      [...row].forEach((symbol, column) => {
        canvas[number * editor.width + column] = this.board.tokenOf(symbol);
      });
    });
    return editor.is_sized ? canvas.fill(editor.blank) : canvas;
  }

  showText(step) {
    this.answerText.textContent = step.text ?? "";
    this.answerText.hidden = Boolean(step.picture);
    this.picture.hidden = !step.picture;
    if (!step.picture) return;
    this.picture.src = step.picture;
    this.picture.alt = step.text ?? "";
  }

  drawLegend() {
    const legend = this.find(".legend");
    if (legend.children.length) return;
    legend.hidden = false;
    const entries = [["changed", "changed in this step"]];
    if (this.model.editor.box) entries.unshift(["given", "given"]);
    if (this.steps[0].conflicts) entries.push(["conflicts", "breaks a rule"]);
    for (const [name, words] of entries) {
      const entry = make("li");
      const swatch = make("span", `swatch ${name}`);
      swatch.setAttribute("aria-hidden", "true");
      entry.append(swatch, words);
      legend.append(entry);
    }
  }

  refresh() {
    const slider = this.find(".slider");
    slider.max = Math.max(1, this.steps.length);
    slider.value = this.shown;
    if (!this.model.learns_to_halt) return;
    const figure = this.find(".curve");
    figure.hidden = false;
    const values = this.steps.map((step) => step.q);
    const hasBoth = values[0]?.length > 1;
    figure.querySelector("figcaption").textContent = hasBoth
      ? "It halts where q_halt (solid) rises above q_continue (dashed)."
      : "q_halt of the answer that was chosen.";
    const numSteps = Math.max(this.steps.length, this.model.max_steps);
    drawCurve(figure, values, this.shown, numSteps, (step) => this.goTo(step));
  }

  // Says what the rules say of the answer; of an earlier step, what it is like.
  showVerdict() {
    const { record, attempts } = this.result;
    const verdict = this.find(".verdict");
    const isLast = this.shown === this.steps.length;
    const words = [record.verdict];
    if (record.num_answers > 1 && !attempts.length) {
      words.push(`given by ${record.num_agreeing} of ${record.num_answers} answers`);
    }
    words.push(`settled after ACT step ${record.settled_step} of ${record.steps}`);
    const line = isLast ? words.join("; ") : this.stepText(this.shown, this.steps[this.shown - 1]);
    verdict.textContent = line[0].toUpperCase() + line.slice(1);
    const look = { true: "yes", false: "no" }[record.accepted] ?? "open";
    verdict.className = `verdict ${isLast ? look : "open"}`;
    verdict.hidden = false;
    return verdict.textContent;
  }

  conclude() {
    const { record, attempts, seconds } = this.result;
    const words = this.showVerdict();
    this.setStatus(`${count(record.steps, "step")} in ${seconds.toFixed(2)} s`);
    if (this.shown === this.steps.length) say(words);
    this.find(".more").hidden = this.steps.length >= this.model.limits.steps;
    if (attempts.length) this.showAttempts(attempts);
  }

  showAttempts(attempts) {
    const place = this.find(".attempts");
    place.hidden = false;
    place.replaceChildren();
    attempts.forEach(({ tokens, votes, confidence }, number) => {
      const figure = make("figure");
      const board = new Board(this.model.editor, `Attempt ${number + 1}`);
      showCanvas(board, tokens, viewOf(this.model.editor, [tokens]), { given: new Set() });
      const words = `Attempt ${number + 1}: ${count(votes, "vote")}, confidence ${percent(confidence)}`;
      figure.append(board.element, make("figcaption", "", words));
      place.append(figure);
    });
  }
}

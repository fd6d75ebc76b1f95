// The panel that solves puzzles: the question on the left, the answer of every ACT step on the right.
import { watch } from "./api.js";
import { Board, showCanvas, viewOf } from "./board.js";
import { drawCurve } from "./curve.js";
import { count, fromTemplate, make, percent, placeText, say } from "./dom.js";
import { Question } from "./question.js";

const PACE = 250; // milliseconds that each step is shown at least
const MORE = 8; // steps
const SYMMETRIES = 8;
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class SolvePanel {
  constructor(model) {
    this.model = model;
    this.panel = fromTemplate("solve-panel");
    this.find = (selector) => this.panel.querySelector(selector);
    this.steps = [];
    this.shown = 0;
    this.makeAnswer();
    this.question = new Question(model, this.panel, (options) => this.solve(options));
    this.find(".solve").addEventListener("click", () => this.question.solve());
    this.find(".votes").hidden = !model.is_symmetric;
    this.find(".votes").addEventListener("click", () => this.question.solve({ votes: SYMMETRIES }));
  }

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

  solve(options = {}) {
    this.asked = this.question.wish;
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
    if (name === "thinking") this.onThinking(data);
    if (name === "done") this.finish(data);
    if (name !== "step") return;
    this.steps.push(data);
    if (!this.timer) this.advance();
    else this.refresh();
  }

  onThinking(data) {
    this.forms = data.forms;
    if (data.form) this.setStatus(`Refused so far; asked under symmetry ${data.form}`);
  }

  onFailure(error) {
    const isCancelled = error.name === "AbortError";
    const words = isCancelled ? `Cancelled after ${count(this.steps.length, "step")}` : "No answer";
    this.setStatus(words);
    say(words);
    this.find(".player").hidden = !this.steps.length;
    if (!isCancelled) this.question.complain(error.message);
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
    this.question.forgive();
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
    const isPolled = this.forms > 1 && !this.result;
    this.setStatus(isPolled ? `Asked in ${this.forms} forms` : `ACT step ${number}`);
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
        canvas[number * editor.width + column] = this.answer.tokenOf(symbol);
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
    const words = record.flaw ? [record.verdict, record.flaw] : [record.verdict];
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

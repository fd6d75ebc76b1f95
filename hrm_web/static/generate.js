// The panel that goes on with a text and shows the likeliest tokens in every place.
import { watch } from "./api.js";
import { complain, count, drawBars, fromTemplate, make, percent, placeText, say } from "./dom.js";

export class GeneratePanel {
  constructor(model) {
    this.panel = fromTemplate("generate-panel");
    this.find = (selector) => this.panel.querySelector(selector);
    this.find(".max-tokens").max = model.limits.tokens;
    this.tokens = [];
    this.find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    this.find(".cancel").addEventListener("click", () => this.controller?.abort());
    this.find(".slider").addEventListener("input", (event) => this.show(Number(event.target.value)));
  }

  get wish() {
    return {
      prompt: this.find("textarea").value,
      max_tokens: Number(this.find(".max-tokens").value),
      temp: Number(this.find(".temp").value),
      top_p: Number(this.find(".top-p").value),
      seed: Number(this.find(".seed").value),
    };
  }

  async run() {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    const { wish } = this;
    this.tokens = [];
    this.find(".written").replaceChildren(make("span", "prompt", wish.prompt));
    complain(this.find(".prompt-error"), "", this.find("textarea"));
    this.setBusy(true);
    try {
      await watch("/api/generate", wish, controller.signal, (name, data) => this.onEvent(name, data));
    } catch (error) {
      this.onFailure(error);
    } finally {
      if (controller === this.controller) this.setBusy(false);
    }
  }

  setBusy(isBusy) {
    this.find(".cancel").hidden = !isBusy;
    this.find(".answered").setAttribute("aria-busy", String(isBusy));
  }

  onEvent(name, data) {
    if (name === "place") this.setStatus(placeText(data.before));
    if (name === "done") {
      this.setStatus(`${count(data.tokens, "token")} in ${data.seconds.toFixed(2)} s`);
      say(data.text);
    }
    if (name !== "token") return;
    this.tokens.push(data);
    const number = this.tokens.length;
    const span = make("span", "token", data.text);
    span.addEventListener("click", () => this.show(number));
    this.find(".written").append(span);
    this.find(".slider").max = number;
    this.find(".player").hidden = false;
    this.show(number);
    this.setStatus(count(number, "token"));
  }

  onFailure(error) {
    if (error.name === "AbortError") {
      this.setStatus(`Cancelled after ${count(this.tokens.length, "token")}`);
      return;
    }
    this.setStatus("No text");
    complain(this.find(".prompt-error"), error.message, this.find("textarea"));
  }

  setStatus(text) {
    this.find(".status").textContent = text;
  }

  // Shows the likeliest tokens in the place of one, from 1.
  show(number) {
    const { top, text, probability } = this.tokens[number - 1];
    const slider = this.find(".slider");
    slider.value = number;
    slider.setAttribute("aria-valuetext", `token ${number}, ${visible(text)}, ${percent(probability)}`);
    this.panel.querySelector(".token.now")?.classList.remove("now");
    this.panel.querySelectorAll(".token")[number - 1].classList.add("now");
    drawBars(this.find(".bars"), top.map((each) => [visible(each.text), each.probability, percent(each.probability)]));
  }
}

// Names blanks and line ends, which have no shape of their own.
function visible(text) {
  return text.replaceAll("\n", "⏎").replaceAll(" ", "␣") || "…";
}

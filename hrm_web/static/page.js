// Asks the server for its model and shows the panels that fit it.
import { get } from "./api.js";
import { complain, count } from "./dom.js";
import { GeneratePanel } from "./generate.js";
import { PredictPanel } from "./predict.js";
import { SolvePanel } from "./solve.js";

const PANELS = {
  solve: ["Solve", SolvePanel],
  generate: ["Continue", GeneratePanel],
  predict: ["Predict", PredictPanel],
};

function facts(model) {
  const halts = model.learns_to_halt
    ? `thinks for up to ${count(model.max_steps, "step")} and decides itself when to stop`
    : `thinks for ${count(model.max_steps, "step")}`;
  return `${model.model} · ${model.task} · ${count(model.parameters, "parameter")} · ${halts}`;
}

function showTabs(panels) {
  const tabs = document.getElementById("tabs");
  tabs.hidden = panels.length < 2;
  const buttons = panels.map(([title, panel]) => {
    const button = document.createElement("button");
    button.textContent = title;
    button.addEventListener("click", () => choose(panel));
    tabs.append(button);
    return button;
  });
  function choose(chosen) {
    panels.forEach(([, panel], number) => {
      panel.hidden = panel !== chosen;
      buttons[number].setAttribute("aria-pressed", String(panel === chosen));
    });
  }
  if (panels.length) choose(panels[0][1]);
}

try {
  const model = await get("/api/model");
  document.getElementById("facts").textContent = facts(model);
  document.title = `${model.model}: HRM at work`;
  document.getElementById("api").textContent = model.panels[0];
  showTabs(
    model.panels.map((name) => {
      const [title, Panel] = PANELS[name];
      return [title, new Panel(model).panel];
    }),
  );
} catch (error) {
  complain(document.getElementById("failure"), error.message);
}

/** The page: drawing on the left, one column for each network on the right. */

import { explain, fetchModels, predict } from "./api.js";
import { offerModels } from "./choice.js";
import { onThemeChange } from "./colours.js";
import { byId, make } from "./dom.js";
import { Drawing } from "./drawing.js";
import { strokesOf } from "./examples.js";
import { acceptFiles } from "./files.js";
import { Requests } from "./requests.js";
import { Result, verdict } from "./result.js";
import { spokenUnit } from "./unit.js";
import { Walk } from "./walk.js";
import { count, percent } from "./words.js";

const paper = byId("paper");
const trouble = byId("trouble");
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

const requests = new Requests(["models", "predict", "unit"], showTrouble, (busy) =>
  byId("networks").setAttribute("aria-busy", busy),
);
const drawing = new Drawing(paper, changed);
const written = new Map();

let models = [];
/** @type {Map<string, {model: object, result: Result, walk: Walk, verdict: HTMLElement}>} */
const columns = new Map();
/** What was classified last: the image, and the answer of each network. */
let shown = { image: null, results: new Map() };
let unit = null;
let spoken = 0;

function changed(finished) {
  byId("undo").disabled = !drawing.canUndo;
  byId("redo").disabled = !drawing.canRedo;
  byId("clear").disabled = drawing.isEmpty;
  if (drawing.isEmpty) {
    requests.drop("predict");
    requests.drop("unit");
    showTrouble(null);
    showResults(null, []);
    if (finished) speak("The drawing area is empty.");
  } else {
    classify(finished);
  }
}

function classify(finished) {
  if (!columns.size || drawing.isEmpty) return;
  requests.ask("predict", async () => {
    const image = await drawing.file();
    const results = await predict([...columns.keys()], image);
    if (drawing.isEmpty) return;
    showResults(image, results);
    if (finished) speakVerdicts();
    if (unit) askUnit();
  });
}

function showResults(image, results) {
  shown = { image, results: new Map(results.map((result) => [result.model, result])) };
  for (const [id, column] of columns) showColumn(column, shown.results.get(id) ?? null);
  if (!image && unit) choose(null);
}

function showColumn({ model, result, walk, verdict: element }, answer) {
  result.show(answer);
  walk.show(answer?.layers ?? null);
  const words = answer ? verdict(model, answer) : { label: "", share: "", note: "" };
  const [label, share, note] = element.children;
  label.textContent = words.label;
  share.textContent = words.share;
  note.textContent = [columns.size > 1 ? model.title : "", words.note].filter(Boolean).join(": ");
  element.hidden = !answer;
}

function choose(next) {
  unit = next;
  requests.drop("unit");
  for (const [id, { walk, result }] of columns) {
    walk.choose(id === unit?.model ? unit : null);
    if (!unit || id !== unit.model) result.outline(null);
  }
  if (unit && shown.image) askUnit();
}

function askUnit() {
  const asked = unit;
  requests.ask("unit", async () => {
    const { image, results } = shown;
    if (!image || asked !== unit || !results.get(asked.model)?.input) return;
    const answer = await explain(asked, image);
    const column = columns.get(asked.model);
    if (asked !== unit || !column) return;
    column.walk.explain(answer, results.get(asked.model).input);
    const [, height, width] = column.model.input_shape;
    column.result.outline(answer.field ?? [0, 0, height, width]);
    speak(spokenUnit(answer, column.model));
  });
}

function showNetworks(ids) {
  columns.clear();
  choose(null);
  for (const id of ids) {
    const model = models.find((each) => each.id === id);
    const mark = make("div", { class: "verdict", hidden: true }, make("b"), make("span"), make("p"));
    columns.set(id, {
      model,
      result: new Result(model),
      walk: new Walk(model, choose),
      verdict: mark,
    });
  }
  const list = [...columns.values()];
  byId("verdicts").replaceChildren(...list.map((column) => column.verdict));
  byId("networks").replaceChildren(...list.map(networkColumn));
  byId("networks").classList.toggle("several", list.length > 1);
  const draws = list.some(({ model }) => model.prepare === "digit");
  byId("invitation").textContent = draws ? "Draw a digit." : "Draw, or open an image.";
  document.body.classList.add("ready");
  showResults(shown.image, [...shown.results.values()]);
  classify(true);
}

function networkColumn({ model, result, walk }, index) {
  const facts = [`${count(model.parameters)} parameters`];
  if (model.test_accuracy !== null) {
    facts.push(`${percent(model.test_accuracy)} correct on the test images`);
  }
  const title = `network-${index}`;
  return make(
    "section",
    { class: "network", "aria-labelledby": title },
    make("h2", { id: title }, model.title),
    make("p", { class: "facts" }, facts.join(" · ")),
    result.element,
    make("h3", {}, "Layer by layer"),
    make("p", { class: "facts" }, "Click on a number in a map, or move with the arrow keys."),
    make(
      "p",
      { class: "legend" },
      make("span", { class: "key negative" }, "negative"),
      make("span", { class: "key zero" }, "0"),
      make("span", { class: "key positive" }, "positive"),
      make("span", { class: "key learned" }, "learned weights"),
      make("span", { class: "key fixed" }, "no weights"),
    ),
    walk.element,
  );
}

function showTrouble(message) {
  trouble.hidden = !message;
  if (message && trouble.textContent !== message) trouble.textContent = message;
}

/** Screen readers hear the latest sentence only, once nothing changed for a while. */
function speak(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (byId("spoken").textContent = text), 300);
}

function speakVerdicts() {
  const texts = [...columns.values()].flatMap(({ model }) => {
    const answer = shown.results.get(model.id);
    if (!answer) return [];
    const { spoken: text } = verdict(model, answer);
    return columns.size > 1 ? `${model.title}: ${text}` : text;
  });
  speak(texts.join(". "));
}

async function open(file) {
  try {
    await drawing.show(file);
  } catch {
    showTrouble(`${file.name || "This file"} is not an image that the browser can read.`);
    return;
  }
  paper.focus({ preventScroll: true });
}

function writeDigit(digit) {
  const hand = written.get(digit) ?? 0;
  written.set(digit, hand + 1);
  drawing.write(strokesOf(digit, hand), !calm.matches);
}

function listen() {
  byId("undo").addEventListener("click", () => drawing.undo());
  byId("redo").addEventListener("click", () => drawing.redo());
  byId("clear").addEventListener("click", () => drawing.clear());
  byId("examples").append(
    ...Array.from({ length: 10 }, (_, digit) => {
      const button = make("button", { type: "button", "aria-label": `Write a ${digit}` }, `${digit}`);
      button.addEventListener("click", () => writeDigit(digit));
      return button;
    }),
  );
  paper.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[0-9]$/.test(event.key)) writeDigit(Number(event.key));
    else if (event.key === "Delete" || event.key === "Backspace") drawing.clear();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) drawing.undo();
    else if (key === "y" || key === "z") drawing.redo();
    else return;
    event.preventDefault();
  });
  acceptFiles(paper, open);
  onThemeChange(() => showResults(shown.image, [...shown.results.values()]));
  onThemeChange(() => unit && choose(unit));
}

listen();
requests.ask("models", async () => {
  models = await fetchModels();
  showNetworks(offerModels(models, showNetworks));
});

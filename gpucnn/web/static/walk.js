/** The layers of one network, from the input to the scores. */

import { sourceMap } from "./arithmetic.js";
import { make } from "./dom.js";
import { Maps } from "./maps.js";
import { UnitPanel } from "./unit.js";
import { explanation, plural, short, sides } from "./words.js";

export class Walk {
  #model;
  #rows = new Map();
  #panel;
  #unit = null;
  #choose;

  /**
   * @param {object} model an entry of /api/models
   * @param {(unit: object | null) => void} choose called with {model, layer, channel, row, column}
   */
  constructor(model, choose) {
    this.#model = model;
    this.#choose = choose;
    this.#panel = new UnitPanel(model, (key) => this.#press(key));
    this.element = make("ol", { class: "layers" });
    const explained = new Set();
    for (const layer of model.layers) {
      const isLast = layer === model.layers.at(-1);
      const sentence = explanation(layer.type, isLast, model.is_regression);
      this.#add(layer, isLast, explained.has(sentence) ? "" : sentence);
      explained.add(sentence);
    }
  }

  /** @param {object[] | null} answers the layers of a result of /api/predict; null empties them */
  show(answers) {
    for (const [name, { maps, range }] of this.#rows) {
      const answer = answers?.find((each) => each.name === name) ?? null;
      maps.show(answer);
      range.textContent = answer ? rangeText(answer) : "";
    }
  }

  /**
   * Mark the chosen unit of this network; null removes marks and panel.
   *
   * @param {{layer: string, channel: number, row: number, column: number} | null} unit
   */
  choose(unit) {
    const moved = unit?.layer !== this.#unit?.layer;
    this.#unit = unit;
    if (!unit || moved) this.#removePanel(unit && this.#rows.get(unit.layer).element);
    for (const [name, { maps }] of this.#rows) maps.mark(name === unit?.layer ? unit : null, null);
  }

  /**
   * Show the arithmetic of the chosen unit.
   *
   * @param {object} answer of /api/unit
   * @param {{shape: number[], data: string} | null} input of the network
   */
  explain(answer, input) {
    const source_map = sourceMap(answer, this.#model);
    this.#panel.show({ ...answer, source_map }, input);
    const row = this.#rows.get(answer.layer);
    if (this.#panel.element.parentNode !== row.element) row.element.append(this.#panel.element);
    const { channels, window } = answer;
    for (const [name, { maps }] of this.#rows) {
      if (name === answer.layer) maps.mark(answer, null);
      else maps.mark(null, name === answer.source && channels ? { channels, window } : null);
    }
  }

  #add(layer, isLast, sentence) {
    const maps = new Maps(layer, isLast ? this.#model.classes : [], (unit) =>
      this.#choose(unit && { model: this.#model.id, layer: layer.name, ...unit }),
    );
    const range = make("p", { class: "range" });
    const facts = [`${layer.type} · ${sides(layer.shape)}`];
    if (layer.parameters) facts.push(plural(layer.parameters, "parameter"));
    const element = make(
      "li",
      { class: layer.parameters ? "layer learned" : "layer" },
      make(
        "div",
        { class: "about" },
        make("h4", {}, layer.name),
        ...facts.map((text) => make("p", { class: "facts" }, text)),
        range,
      ),
      make(
        "div",
        { class: "outputs" },
        ...(sentence ? [make("p", { class: "sentence" }, sentence)] : []),
        maps.element,
      ),
    );
    this.#rows.set(layer.name, { element, maps, range });
    this.element.append(element);
  }

  /** Remove the panel; a layer below it stays where it is on the screen. */
  #removePanel(layer) {
    const before = layer?.getBoundingClientRect().top;
    this.#panel.element.remove();
    if (layer) window.scrollBy(0, layer.getBoundingClientRect().top - before);
  }

  #press(key) {
    const { maps } = this.#rows.get(this.#unit.layer);
    if (key === "Escape") maps.element.focus();
    maps.element.dispatchEvent(new KeyboardEvent("keydown", { key }));
  }
}

function rangeText({ low, high, shape, shown }) {
  const text = `${short(low)} to ${short(high)}`;
  return shown[0] < shape[0] ? `${text}; the first ${shown[0]} maps` : text;
}

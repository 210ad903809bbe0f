/** The arithmetic of one unit: what it sees, its window, weights and products, and the sum. */

import { asBlocks, firstMap, greatest, sourceName } from "./arithmetic.js";
import { make } from "./dom.js";
import { paintHeat } from "./heat.js";
import { paintInput, placeField } from "./result.js";
import { equation, grid, MOST_CELLS, strongest, window } from "./tables.js";
import { plural, short, sides, signed } from "./words.js";

const ARROWS = [
  ["ArrowLeft", "←", "left"],
  ["ArrowUp", "↑", "up"],
  ["ArrowDown", "↓", "down"],
  ["ArrowRight", "→", "right"],
];

/** The panel below the layer whose unit is chosen. */
export class UnitPanel {
  #model;
  #title = make("h5");
  #body = make("div", { class: "unit-body" });
  #channel = null;
  #place = "";

  /**
   * @param {object} model an entry of /api/models
   * @param {(key: string) => void} press called with the key that a button replaces
   */
  constructor(model, press) {
    this.#model = model;
    const button = (key, text, label) => {
      const element = make("button", { type: "button", "aria-label": label }, text);
      element.addEventListener("click", () => press(key));
      return element;
    };
    this.element = make(
      "section",
      { class: "unit", "aria-label": "Arithmetic of the chosen unit" },
      make(
        "header",
        {},
        this.#title,
        make(
          "div",
          { class: "arrows", role: "group", "aria-label": "Choose a neighbour" },
          ...ARROWS.map(([key, text, label]) => button(key, text, `Unit to the ${label}`)),
          button("Escape", "Close", "Close the arithmetic"),
        ),
      ),
      this.#body,
    );
  }

  /**
   * Show an answer of /api/unit.
   *
   * @param {object} answer
   * @param {{shape: number[], data: string} | null} input of the network
   */
  show(answer, input) {
    const place = `${answer.layer} ${answer.channel}`;
    if (place !== this.#place) this.#channel = null;
    this.#place = place;
    this.#title.textContent = nameOf(answer, this.#model);
    this.#body.replaceChildren(
      this.#sight(answer, input),
      make("div", { class: "sum" }, ...this.#arithmetic(answer)),
    );
  }

  #sight(answer, input) {
    const shape = this.#model.input_shape;
    const canvas = make("canvas", { class: "seen", role: "img" });
    paintInput(canvas, input, shape);
    const overlay = make("div", { class: "field" });
    const field = answer.field ?? [0, 0, shape[1], shape[2]];
    placeField(overlay, field, shape);
    const [top, left, bottom, right] = field;
    const whole = top <= 0 && left <= 0 && bottom >= shape[1] && right >= shape[2];
    const text = whole
      ? "It sees the whole image."
      : `It sees ${bottom - top} × ${right - left} pixels: its receptive field.`;
    canvas.setAttribute("aria-label", text);
    return make(
      "figure",
      { class: "sight" },
      make("div", { class: "frame" }, canvas, overlay),
      make("figcaption", {}, text),
    );
  }

  #arithmetic(answer) {
    const result = [make("p", { class: "equation" }, ...equation(answer))];
    const blocks = asBlocks(answer);
    if (answer.kind === "weighted" && blocks) {
      result.push(...this.#weighted(answer, blocks));
      if (blocks[0].inputs.length > MOST_CELLS) result.push(...strongest(answer));
    } else if (answer.kind === "weighted" && answer.inputs) {
      result.push(...strongest(answer));
    } else if (blocks) {
      result.push(window(answer, blocks[0]));
    }
    // The other kinds are written out.
    if (["elementwise", "other"].includes(answer.kind) && answer.formula) {
      result.push(make("p", { class: "note" }, answer.formula));
    }
    if (answer.source === "input" && answer.kind === "weighted") {
      result.push(make("p", { class: "note" }, normalised(this.#model.normalization)));
    }
    return result;
  }

  /** The products of each map of the layer before; the numbers of one of them. */
  #weighted(answer, blocks) {
    const sums = blocks.map((block) => block.sum);
    if (this.#channel === null || this.#channel >= blocks.length) {
      this.#channel = sums.reduce(
        (best, sum, index) => (Math.abs(sum) > Math.abs(sums[best]) ? index : best),
        0,
      );
    }
    const detail = make("div", { class: "detail" });
    const most = greatest(blocks);
    const fill = () => detail.replaceChildren(...this.#product(answer, blocks, most));
    const parts = [detail];
    if (blocks.length > 1) parts.unshift(...this.#strip(answer, blocks, most, fill));
    fill();
    // The panel is not in the page yet: its boxes have sizes only then.
    requestAnimationFrame(() => showChosen(parts[1]));
    return parts;
  }

  #strip(answer, blocks, most, fill) {
    const name = `unit-${this.#model.id}`;
    const choices = blocks.map((block, index) => {
      const input = make("input", { type: "radio", name, value: index });
      input.checked = index === this.#channel;
      input.addEventListener("change", () => {
        this.#channel = index;
        fill();
      });
      const number = firstMap(answer) + index;
      const label = make("label", { title: `map ${number}` }, input);
      for (const part of ["inputs", "weights", "products"]) {
        const canvas = make("canvas", { "aria-hidden": "true" });
        paintHeat(canvas, block[part], block.width, most[part]);
        label.append(canvas);
      }
      label.append(
        make("span", { class: "unseen" }, `Map ${number}: `),
        make("span", {}, signed(block.sum)),
      );
      return label;
    });
    const heading = `The sum of each of the ${blocks.length} maps of ${sourceName(answer)}`;
    const rows = make(
      "div",
      { class: "strip-rows", "aria-hidden": "true" },
      ...["window", "weights", "products", "sum"].map((text) => make("span", {}, text)),
    );
    return [
      make("p", { class: "note" }, `${heading}. Choose one to see its numbers.`),
      make(
        "div",
        { class: "strip" },
        rows,
        make("div", { class: "choices", role: "radiogroup", "aria-label": heading }, ...choices),
      ),
    ];
  }

  #product(answer, blocks, most) {
    const block = blocks[this.#channel];
    const number = firstMap(answer) + this.#channel;
    const where =
      answer.source === "input" && blocks.length === 1
        ? "Window of the input"
        : `${answer.window ? "Window of map" : "Map"} ${number}`;
    const outside = block.outside;
    const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);
    const parts = [
      grid(where, block.inputs, block.width, most.inputs, outside),
      sign("×"),
      grid("Weights", block.weights, block.width, most.weights),
      sign("="),
      grid("Products", block.products, block.width, most.products, outside),
    ];
    const tables = [make("div", { class: "tables" }, ...parts)];
    const total = `Sum of these ${plural(block.products.length, "product")}: ${short(block.sum)}`;
    tables.push(make("p", { class: "note" }, outside.some(Boolean) ? `${total}. ${PADDING}` : total));
    return tables;
  }
}

/** Scroll a strip sideways so that the chosen map is seen. */
function showChosen(strip) {
  const list = strip?.querySelector(".choices");
  const label = list?.querySelector(":checked")?.parentNode;
  if (label) list.scrollLeft = label.offsetLeft - (list.clientWidth - label.offsetWidth) / 2;
}

const PADDING = "Striped cells lie outside the map (padding).";

function nameOf(answer, model) {
  const layer = model.layers.find((each) => each.name === answer.layer);
  if (layer.shape.length === 3) {
    return `${answer.layer}: map ${answer.channel + 1}, row ${answer.row + 1}, column ${answer.column + 1}`;
  }
  const isLast = layer === model.layers.at(-1);
  const what = model.is_regression ? "that of" : "the score of";
  const meaning = isLast ? `, ${what} “${model.classes[answer.channel]}”` : "";
  return `${answer.layer}: number ${answer.channel + 1}${meaning}`;
}

function normalised(normalization) {
  const text = "The first layer reads normalised pixels";
  if (!normalization) return `${text}.`;
  const [mean, std] = [normalization.mean, normalization.std].map((values) =>
    values.map((value) => value.toFixed(3)).join(", "),
  );
  return `${text}: (pixel / 255 − ${mean}) / ${std}. Black is negative.`;
}

/**
 * Return a sentence on a unit for screen readers.
 *
 * @param {object} answer of /api/unit
 * @param {object} model an entry of /api/models
 * @returns {string}
 */
export function spokenUnit(answer, model) {
  const field = answer.field
    ? `Receptive field ${sides([answer.field[2] - answer.field[0], answer.field[3] - answer.field[1]])} pixels.`
    : "It sees the whole image.";
  return `${nameOf(answer, model)}: output ${short(answer.output)}. ${field}`;
}

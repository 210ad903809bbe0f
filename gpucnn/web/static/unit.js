/** The arithmetic of one unit: what it sees, its window, weights and products, and the sum. */

import { make } from "./dom.js";
import { paintHeat, tint } from "./maps.js";
import { paintInput, placeField } from "./result.js";
import { count, plural, short, sides } from "./words.js";

// Larger windows are shown as colours only.
const MOST_CELLS = 49;
const MOST_TERMS = 8;

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
   * @param {(key: string) => void} press called with the key that a button stands for
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
    } else if (answer.kind === "weighted" && answer.inputs) {
      result.push(...strongest(answer));
    } else if (blocks) {
      result.push(window(answer, blocks[0].inputs, blocks));
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
        : `Window of map ${number}`;
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
  const meaning = isLast ? `, the score of “${model.classes[answer.channel]}”` : "";
  return `${answer.layer}: number ${answer.channel + 1}${meaning}`;
}

function sourceName(answer) {
  if (answer.source === "input") return "the input";
  const flattened = answer.inputs?.shape.length === 1 && answer.source_shape?.length === 3;
  return flattened && answer.kind === "weighted"
    ? `the layer before ${answer.source}`
    : answer.source;
}

/** Return the number of the first map that a unit reads, from 1. */
function firstMap(answer) {
  return (answer.channels?.[0] ?? 0) + 1;
}

function signed(value) {
  return value > 0 ? `+${short(value)}` : short(value);
}

function equation(answer) {
  const strong = make("strong", {}, short(answer.output));
  if (answer.kind === "weighted") {
    const size = answer.count ?? answer.inputs?.values.length ?? 0;
    const sign = answer.bias < 0 ? " − " : " + ";
    const bias = answer.bias === null ? [] : [sign, term(short(Math.abs(answer.bias)), "bias")];
    return [term(short(answer.sum), `sum of ${plural(size, "product")}`), ...bias, " = ", strong];
  }
  const values = answer.inputs?.values ?? [];
  if (answer.kind === "maximum") return [`maximum of ${plural(values.length, "number")} = `, strong];
  if (answer.kind === "mean") return [`mean of ${plural(values.length, "number")} = `, strong];
  if (answer.kind === "elementwise" && values.length === 1) {
    return [term(short(values[0]), `from ${sourceName(answer)}`), " → ", strong];
  }
  return ["output = ", strong];
}

function term(value, name) {
  return make("span", { class: "term" }, value, make("small", {}, name));
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
 * Return the inputs of a unit map by map, with weights and products where it has weights; null if
 * they do not lie in maps, or each has too many numbers for a table.
 */
function asBlocks(answer) {
  const { inputs, weights } = answer;
  if (!inputs || answer.indices) return null;
  let shape = inputs.shape;
  if (shape.length === 1 && answer.source_shape?.length === 3) shape = answer.source_shape;
  if (shape.length !== 3) return null;
  const [maps, height, width] = shape;
  const size = height * width;
  if (size > MOST_CELLS || size * maps !== inputs.values.length || size < 2) return null;
  return Array.from({ length: maps }, (_, index) => {
    const part = (values) => values.slice(index * size, (index + 1) * size);
    const block = { width, inputs: part(inputs.values), outside: outside(answer, shape) };
    if (!weights) return block;
    block.weights = part(weights.values);
    block.products = block.weights.map((weight, at) => weight * (block.inputs[at] ?? 0));
    block.sum = block.products.reduce((sum, product) => sum + product, 0);
    return block;
  });
}

/** Return for each number of a window whether it lies outside the map. */
function outside(answer, [, height, width]) {
  const [dy, dx] = answer.step ?? [1, 1];
  const source = answer.source_map;
  return Array.from({ length: height * width }, (_, index) => {
    if (!answer.window || !source) return false;
    const row = answer.window[0] + Math.floor(index / width) * dy;
    const column = answer.window[1] + (index % width) * dx;
    return row < 0 || column < 0 || row >= source[0] || column >= source[1];
  });
}

function greatest(blocks) {
  const most = (part) => Math.max(...blocks.flatMap((block) => block[part].map(magnitude)));
  return { inputs: most("inputs"), weights: most("weights"), products: most("products") };
}

function magnitude(value) {
  return Math.abs(value ?? 0);
}

function grid(caption, values, width, most, outside = []) {
  const table = make("table", { class: "grid" }, make("caption", {}, caption));
  for (let start = 0; start < values.length; start += width) {
    const cells = values.slice(start, start + width).map((value, index) => {
      const cell = make("td", {}, short(value));
      if (outside[start + index]) cell.classList.add("padding");
      else tint(cell, value, most);
      return cell;
    });
    table.append(make("tr", {}, ...cells));
  }
  return table;
}

/** The window of pooling, with the maximum marked. */
function window(answer, values, [block]) {
  const most = Math.max(...values.map(magnitude));
  const caption = `Window of map ${firstMap(answer)} of ${sourceName(answer)}`;
  const table = grid(caption, values, block.width, most, block.outside);
  if (answer.kind === "maximum") {
    const numbers = values.map((value) => value ?? -Infinity);
    const best = numbers.indexOf(Math.max(...numbers));
    table.querySelectorAll("td")[best]?.classList.add("chosen");
  }
  return make("div", { class: "tables" }, table);
}

/** The largest products of a unit that reads a vector. */
function strongest(answer) {
  const weights = answer.weights.values;
  const terms = answer.inputs.values.map((value, index) => ({
    number: (answer.indices?.[index] ?? index) + 1,
    value: value ?? 0,
    weight: weights[index],
    product: (value ?? 0) * weights[index],
  }));
  terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const shown = terms.slice(0, MOST_TERMS);
  const most = magnitude(shown[0]?.product);
  const table = make(
    "table",
    { class: "terms" },
    make("caption", {}, `The ${shown.length} largest products with numbers of ${sourceName(answer)}`),
    make(
      "tr",
      {},
      ...["number", "value", "weight", "product"].map((text) => make("th", { scope: "col" }, text)),
    ),
  );
  for (const { number, value, weight, product } of shown) {
    const last = make("td", {}, signed(product));
    tint(last, product, most);
    table.append(
      make(
        "tr",
        {},
        make("th", { scope: "row" }, count(number)),
        make("td", {}, short(value)),
        make("td", {}, short(weight)),
        last,
      ),
    );
  }
  const rest = terms.slice(MOST_TERMS).reduce((sum, each) => sum + each.product, 0);
  const others = terms.length - shown.length;
  const text = `The other ${plural(others, "product")}: ${signed(rest)} together.`;
  return [table, ...(others > 0 && !answer.indices ? [make("p", { class: "note" }, text)] : [])];
}

/**
 * Return the shape of the map that a unit reads, height and width, or null.
 *
 * @param {object} answer of /api/unit
 * @param {object} model an entry of /api/models
 * @returns {number[] | null}
 */
export function sourceMap(answer, model) {
  const shape =
    answer.source === "input"
      ? model.input_shape
      : model.layers.find((layer) => layer.name === answer.source)?.shape;
  return shape?.length === 3 ? shape.slice(1) : null;
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

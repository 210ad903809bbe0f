/** A unit's arithmetic as a line and as tables. */

import { firstMap, magnitude, sourceName } from "./arithmetic.js";
import { make } from "./dom.js";
import { paintHeat, tint } from "./heat.js";
import { count, plural, short, signed } from "./words.js";

/** Numbers of a window that are written out; larger ones are shown as colours only. */
export const MOST_CELLS = 49;
const MOST_TERMS = 8;

/**
 * Return the line with the sum and the output of a unit.
 *
 * @param {object} answer of /api/unit
 * @returns {(Node | string)[]}
 */
export function equation(answer) {
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

/**
 * Return numbers as a table of coloured cells, or as colours only if there are many.
 *
 * @param {string} caption
 * @param {(number | null)[]} values row by row
 * @param {number} width numbers in a row
 * @param {number} most the greatest absolute value, which has the full colour
 * @param {boolean[]} outside of each number, whether it lies outside the map
 * @returns {HTMLElement}
 */
export function grid(caption, values, width, most, outside = []) {
  if (values.length > MOST_CELLS) return heat(caption, values, width, most);
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

function heat(caption, values, width, most) {
  const canvas = make("canvas", { role: "img", "aria-label": `${caption}, as colours` });
  paintHeat(canvas, values, width, most);
  return make("figure", { class: "heat" }, make("figcaption", {}, caption), canvas);
}

/**
 * Return the window of a pooling layer, with the maximum marked.
 *
 * @param {object} answer of /api/unit
 * @param {import("./arithmetic.js").Block} block
 * @returns {HTMLElement}
 */
export function window(answer, block) {
  const values = block.inputs;
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

/**
 * Return a table of the largest products of a unit, and a sentence on the others.
 *
 * @param {object} answer of /api/unit
 * @returns {HTMLElement[]}
 */
export function strongest(answer) {
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

/** The numbers of a unit's arithmetic, sorted by the maps that it reads. */

/**
 * @typedef {{width: number, inputs: (number | null)[], outside: boolean[], weights?: number[],
 *     products?: number[], sum?: number}} Block a window of one map, row by row
 */

/**
 * Return the inputs of a unit map by map, with weights and products where it has weights; null if
 * they do not lie in maps.
 *
 * @param {object} answer of /api/unit, with `source_map`
 * @returns {Block[] | null}
 */
export function asBlocks(answer) {
  const { inputs, weights } = answer;
  if (!inputs || answer.indices) return null;
  let shape = inputs.shape;
  if (shape.length === 1 && answer.source_shape?.length === 3) shape = answer.source_shape;
  if (shape.length !== 3) return null;
  const [maps, height, width] = shape;
  const size = height * width;
  if (size * maps !== inputs.values.length || size < 2) return null;
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

/**
 * Return the greatest absolute value of each kind of numbers in some blocks.
 *
 * @param {Block[]} blocks
 * @returns {{inputs: number, weights: number, products: number}}
 */
export function greatest(blocks) {
  const most = (part) => Math.max(...blocks.flatMap((block) => block[part].map(magnitude)));
  return { inputs: most("inputs"), weights: most("weights"), products: most("products") };
}

/**
 * Return an absolute value; 0 for null.
 *
 * @param {number | null} value
 * @returns {number}
 */
export function magnitude(value) {
  return Math.abs(value ?? 0);
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
 * Return the name of the layer whose numbers a unit reads.
 *
 * @param {object} answer of /api/unit
 * @returns {string}
 */
export function sourceName(answer) {
  if (answer.source === "input") return "the input";
  const flattened = answer.inputs?.shape.length === 1 && answer.source_shape?.length === 3;
  return flattened && answer.kind === "weighted"
    ? `the layer before ${answer.source}`
    : answer.source;
}

/**
 * Return the number of the first map that a unit reads, from 1.
 *
 * @param {object} answer of /api/unit
 * @returns {number}
 */
export function firstMap(answer) {
  return (answer.channels?.[0] ?? 0) + 1;
}

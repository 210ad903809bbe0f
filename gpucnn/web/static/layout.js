/** Where the maps of a layer lie on its canvas, and which unit a key moves to. */

const GAP = 12;
const LARGEST_SIDE = 132;
const MOST_ZOOM = 12;

/**
 * @typedef {{vector: boolean, zoom: number, gap: number, columns: number, rows: number}} Layout
 *     zoom: CSS pixels of a unit
 */

/**
 * Return how the maps of a layer are laid out.
 *
 * @param {number[]} shown channels, height and width
 * @param {number} width CSS pixels that there are
 * @param {boolean} isLast of a vector: the scores of the classes get larger cells
 * @returns {Layout}
 */
export function layOut([channels, h, w], width, isLast) {
  const vector = h === 1 && w === 1;
  if (vector) {
    const labelled = isLast && channels <= 12;
    const cell = labelled ? Math.min(52, Math.floor(width / channels)) : cellSide(channels);
    const gap = cell > 15 ? 4 : cell > 10 ? 2 : 1;
    return { vector, zoom: cell - gap, gap, ...arrange(channels, Math.floor(width / cell)) };
  }
  const side = Math.max(h, w);
  const fits = (zoom) => arrange(channels, Math.floor((width + GAP) / (w * zoom + GAP)));
  if (side > LARGEST_SIDE) {
    const zoom = Math.min(LARGEST_SIDE, width) / side;
    return { vector, zoom, gap: GAP, ...fits(zoom) };
  }
  const zoom = Math.max(1, Math.min(MOST_ZOOM, Math.floor(mapSide(channels) / side)));
  const smaller = Math.max(1, zoom - 1);
  const chosen = fits(smaller).rows < fits(zoom).rows ? smaller : zoom;
  return { vector, zoom: chosen, gap: GAP, ...fits(chosen) };
}

// Of many maps, or a long vector, each gets less room. All in CSS pixels.
function mapSide(count) {
  return count <= 16 ? 84 : count <= 32 ? 64 : 48;
}

function cellSide(count) {
  return count <= 512 ? 15 : count <= 2048 ? 10 : 7;
}

/** Spread maps evenly over as few rows as `most` columns allow. */
function arrange(channels, most) {
  const rows = Math.ceil(channels / Math.max(1, most));
  return { rows, columns: Math.ceil(channels / rows) };
}

/**
 * Return the unit that a key moves to, or null for other keys.
 *
 * @param {{channel: number, row: number, column: number} | null} unit the present one
 * @param {string} key
 * @param {number[]} shown channels, height and width that are shown
 * @param {Layout} layout
 * @param {number} step rows and columns between those that are shown
 * @returns {{channel: number, row: number, column: number} | null}
 */
export function moved(unit, key, [channels, h, w], layout, step) {
  const isMove = /^(Arrow(Left|Right|Up|Down)|Page(Up|Down)|Home|End|Enter| )$/.test(key);
  if (!isMove) return null;
  if (!unit) return { channel: 0, row: Math.floor(h / 2) * step, column: Math.floor(w / 2) * step };
  let { channel } = unit;
  let [row, column] = [unit.row / step, unit.column / step];
  const across = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0;
  const down = { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0;
  channel += { PageUp: -1, PageDown: 1 }[key] ?? 0;
  if (layout.vector) {
    const next = channel + across + down * layout.columns;
    if (next >= 0 && next < channels) channel = next;
    if (key === "Home") channel = 0;
    if (key === "End") channel = channels - 1;
  } else {
    row += down;
    column += across;
    if (key === "Home") column = 0;
    if (key === "End") column = w - 1;
  }
  const within = (value, size) => Math.min(size - 1, Math.max(0, value));
  return {
    channel: within(channel, channels),
    row: within(row, h) * step,
    column: within(column, w) * step,
  };
}

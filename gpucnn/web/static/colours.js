/** Numbers as colours: blue is positive, orange is negative, zero is the ground. */

/**
 * @typedef {[number, number, number]} Colour red, green and blue from 0 to 255
 */

/** @type {Record<string, Colour> | null} */
let theme = null;

const listeners = new Set();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  theme = null;
  for (const listener of listeners) listener();
});

/**
 * Call a function whenever the page turns light or dark.
 *
 * @param {() => void} listener
 * @returns {() => void} a function that ends it
 */
export function onThemeChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Return a colour of theme.css.
 *
 * @param {"positive" | "negative" | "zero" | "mark" | "halo" | "ink"} name
 * @returns {Colour}
 */
export function colour(name) {
  theme ??= readTheme();
  return theme[name];
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["positive", "negative", "zero", "mark", "halo", "ink"];
  return Object.fromEntries(
    names.map((name) => [name, parse(style.getPropertyValue(`--${name}`).trim())]),
  );
}

function parse(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/**
 * Return a colour as CSS text.
 *
 * @param {Colour} rgb
 * @returns {string}
 */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/**
 * Return the colour of a value.
 *
 * @param {number} value
 * @param {number} most the greatest absolute value, which has the full colour
 * @returns {Colour}
 */
export function valueColour(value, most) {
  const end = colour(value < 0 ? "negative" : "positive");
  const zero = colour("zero");
  const share = most > 0 ? Math.min(1, Math.abs(value) / most) ** 0.75 : 0;
  return zero.map((start, index) => Math.round(start + (end[index] - start) * share));
}

/**
 * Return black or white, whichever is readable on a colour.
 *
 * @param {Colour} rgb
 * @returns {string}
 */
export function inkOn(rgb) {
  const [red, green, blue] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}

/**
 * Return the colours of the bytes 0 to 255, where 0 is `low` and 255 is `high`.
 *
 * @param {number} low
 * @param {number} high
 * @returns {Colour[]}
 */
export function scale(low, high) {
  const most = Math.max(Math.abs(low), Math.abs(high));
  return Array.from({ length: 256 }, (_, byte) =>
    valueColour(low + ((high - low) * byte) / 255, most),
  );
}

/** Numbers as colours on a small canvas and in the cells of tables. */

import { css, inkOn, valueColour } from "./colours.js";

/**
 * Paint numbers as a small heat map.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {(number | null)[]} values row by row
 * @param {number} width numbers in a row
 * @param {number} most the greatest absolute value, which has the full colour
 */
export function paintHeat(canvas, values, width, most) {
  canvas.width = width;
  canvas.height = Math.ceil(values.length / width);
  const context = canvas.getContext("2d");
  for (const [index, value] of values.entries()) {
    context.fillStyle = css(valueColour(value ?? 0, most));
    context.fillRect(index % width, Math.floor(index / width), 1, 1);
  }
}

/**
 * Colour a cell of a table by its number.
 *
 * @param {HTMLElement} cell
 * @param {number | null} value
 * @param {number} most the greatest absolute value, which has the full colour
 */
export function tint(cell, value, most) {
  const rgb = valueColour(value ?? 0, most);
  cell.style.backgroundColor = css(rgb);
  cell.style.color = inkOn(rgb);
}

/** What one network answers: the input after preparation, and probabilities or numbers. */

import { decode } from "./bytes.js";
import { make } from "./dom.js";
import { percent, short } from "./words.js";

// Of more classes only the most probable ones are listed.
const MOST_BARS = 12;

/**
 * Return a network's answer in a few words, for the large line and for screen readers.
 *
 * @param {object} model an entry of /api/models
 * @param {object} result an entry of the results of /api/predict
 * @returns {{label: string, share: string, note: string, spoken: string}}
 */
export function verdict(model, result) {
  const { probabilities, label, numbers, status, message } = result;
  if (numbers.length && (status === "image" || status === "digit")) {
    const [first] = numbers;
    const name = model.classes[0];
    return { label: short(first), share: name, note: "", spoken: `${name}, ${short(first)}` };
  }
  if (label !== null) {
    const share = answerText(model, probabilities[label]);
    const name = model.classes[label];
    return { label: name, share, note: "", spoken: `${name}, ${share}` };
  }
  const what = { none: "No digit", several: "Several digits" }[status] ?? "No answer";
  let note = message;
  if (probabilities.length) {
    const best = probabilities.indexOf(Math.max(...probabilities));
    note += `${note && "; "}nearest class: ${model.classes[best]}`;
  }
  return { label: "?", share: what, note, spoken: `${what}: ${note}` };
}

/** Return a probability, or the score of a network that has none, as text. */
function answerText(model, value) {
  return model.has_probabilities === false ? `score ${short(value)}` : percent(value);
}

/** The part of a network's column above its layers. */
export class Result {
  #model;
  #bars;
  #canvas = make("canvas", { class: "seen", role: "img" });
  #overlay = make("div", { class: "field", hidden: true });
  #size = 0;

  /** @param {object} model an entry of /api/models */
  constructor(model) {
    this.#model = model;
    const scores = model.is_regression ? "Predicted numbers" : "Scores";
    const what = model.has_probabilities === false ? scores : "Probabilities";
    this.#bars = make("ol", { class: "bars", "aria-label": what });
    const how =
      model.prepare === "digit"
        ? "Your strokes, scaled to 20 pixels and centred like the training images."
        : "Your image, resized.";
    const averaged =
      model.averaged > 1
        ? make("p", {}, `Mean for this image and ${model.averaged - 1} copies moved by a pixel.`)
        : "";
    this.element = make(
      "div",
      { class: "result" },
      make(
        "div",
        { class: "input" },
        make("h3", {}, "What it sees"),
        make("div", { class: "frame" }, this.#canvas, this.#overlay),
        make("p", {}, how),
      ),
      make("div", { class: "output" }, make("h3", {}, "What it answers"), this.#bars, averaged),
    );
    this.show(null);
  }

  /** @param {object | null} result an entry of the results of /api/predict */
  show(result) {
    const input = result?.input ?? null;
    this.#paint(input);
    if (this.#model.is_regression) this.#listNumbers(result?.numbers ?? []);
    else this.#list(result?.probabilities ?? []);
  }

  /** List the predicted numbers in their order, without bars: they have no common unit. */
  #listNumbers(numbers) {
    const names = this.#model.classes;
    if (!this.#bars.childElementCount) this.#bars.append(...names.map(() => makeBar()));
    for (const [row, name] of names.entries()) {
      const value = numbers[row];
      fillBar(this.#bars.children[row], name, value === undefined ? "" : short(value), 0, false);
    }
  }

  /**
   * Outline a receptive field; null removes it.
   *
   * @param {number[] | null} field top, left, bottom and right in pixels of the input
   */
  outline(field) {
    this.#overlay.hidden = !field;
    if (field) placeField(this.#overlay, field, this.#model.input_shape);
  }

  #paint(input) {
    paintInput(this.#canvas, input, this.#model.input_shape);
    const [, height, width] = this.#model.input_shape;
    const text = `The network's input, ${height} by ${width} pixels`;
    this.#canvas.setAttribute("aria-label", input ? text : `${text}: still empty`);
  }

  #list(probabilities) {
    const { classes } = this.#model;
    let order = classes.map((_, index) => index);
    if (classes.length > MOST_BARS) {
      order.sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0));
      order = order.slice(0, MOST_BARS);
    }
    const best = Math.max(...probabilities);
    const full = this.#model.has_probabilities === false ? best : 1;
    if (this.#size !== order.length) {
      this.#bars.replaceChildren(...order.map(() => makeBar()));
      this.#size = order.length;
    }
    for (const [row, index] of order.entries()) {
      const value = probabilities[index];
      const text = value === undefined ? "" : answerText(this.#model, value);
      const width = full > 0 ? Math.max(0, value ?? 0) / full : 0;
      fillBar(this.#bars.children[row], classes[index], text, width, value === best);
    }
  }
}

function makeBar() {
  return make(
    "li",
    {},
    make("span", { class: "name" }),
    make("span", { class: "track" }, make("span", { class: "fill" })),
    make("span", { class: "share" }),
  );
}

function fillBar(bar, name, text, width, isBest) {
  const [label, track, share] = bar.children;
  label.textContent = name;
  track.firstChild.style.width = `${100 * width}%`;
  share.textContent = text;
  bar.classList.toggle("best", isBest);
}

/**
 * Paint a network's input, one pixel of the canvas for each of its own.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{shape: number[], data: string} | null} input null paints black
 * @param {number[]} shape channels, height and width of the input
 */
export function paintInput(canvas, input, [channels, height, width]) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const bytes = input ? decode(input.data) : new Uint8Array(channels * height * width);
  const size = height * width;
  for (let pixel = 0; pixel < size; pixel += 1) {
    for (let part = 0; part < 3; part += 1) {
      image.data[4 * pixel + part] = bytes[(channels === 3 ? part * size : 0) + pixel];
    }
    image.data[4 * pixel + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/**
 * Place an outline over an image of the input.
 *
 * @param {HTMLElement} overlay
 * @param {number[]} field top, left, bottom and right in pixels of the input; may reach outside
 * @param {number[]} shape channels, height and width of the input
 */
export function placeField(overlay, [top, left, bottom, right], [, height, width]) {
  overlay.style.top = `${(100 * top) / height}%`;
  overlay.style.left = `${(100 * left) / width}%`;
  overlay.style.height = `${(100 * (bottom - top)) / height}%`;
  overlay.style.width = `${(100 * (right - left)) / width}%`;
}

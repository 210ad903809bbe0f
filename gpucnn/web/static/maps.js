/** The outputs of one layer on a canvas: feature maps side by side, or the cells of a vector. */

import { decode } from "./bytes.js";
import { colour, css, scale } from "./colours.js";
import { make, sharpContext } from "./dom.js";
import { layOut, moved } from "./layout.js";

/** The maps of a layer. Units are chosen by pointer or keyboard. */
export class Maps {
  #layer;
  #isLast;
  #names;
  #canvas = make("canvas", { "aria-hidden": "true" });
  #answer = null;
  #bitmap = null;
  #unit = null;
  #windows = null;
  #layout = null;
  #width = 0;
  #choose;

  /**
   * @param {object} layer an entry of a network's layers
   * @param {string[]} names of the classes if this is the last layer, else empty
   * @param {(unit: {channel: number, row: number, column: number} | null) => void} choose called
   *     when the user chooses a unit, or none
   */
  constructor(layer, names, choose) {
    this.#layer = layer;
    this.#names = names;
    this.#isLast = names.length > 0;
    this.#choose = choose;
    this.element = make(
      "div",
      { class: "maps", role: "application", tabindex: 0, "aria-label": describe(layer) },
      this.#canvas,
    );
    this.#listen();
    // Painting changes the height, which must not call this again.
    new ResizeObserver(() => {
      if (this.element.clientWidth !== this.#width) requestAnimationFrame(() => this.paint());
    }).observe(this.element);
  }

  /** @param {object | null} answer the layer's entry in a result of /api/predict */
  show(answer) {
    this.#answer = answer;
    this.#bitmap = null;
    this.paint();
  }

  /**
   * Mark the chosen unit, and the windows that another layer's unit reads.
   *
   * @param {{channel: number, row: number, column: number} | null} unit
   * @param {{channels: number[], window: number[] | null} | null} windows
   */
  mark(unit, windows) {
    this.#unit = unit;
    this.#windows = windows;
    this.paint();
  }

  /** Paint everything for the present width and colours. */
  paint() {
    const width = this.element.clientWidth;
    this.#width = width;
    if (!width) return;
    const shown = this.#shown();
    const layout = layOut(shown, width, this.#isLast);
    this.#layout = layout;
    const captions = this.#isLast && layout.vector && layout.zoom > 15 ? 18 : 0;
    const [, h, w] = shown;
    const context = sharpContext(
      this.#canvas,
      layout.columns * (w * layout.zoom + layout.gap) - layout.gap + 2,
      layout.rows * (h * layout.zoom + layout.gap) - layout.gap + captions + 2,
    );
    context.translate(1, 1);
    context.imageSmoothingEnabled = layout.zoom < 1;
    const colours = this.#answer ? scale(this.#answer.low, this.#answer.high) : null;
    const bytes = this.#answer ? (this.#bitmap ??= decode(this.#answer.data)) : null;
    if (layout.vector) this.#paintCells(context, colours, bytes, captions);
    else this.#paintMaps(context, colours, bytes);
    this.#paintMarks(context);
  }

  #shown() {
    if (this.#answer) return this.#answer.shown;
    const { shape } = this.#layer;
    if (shape.length === 2) return [1, ...shape]; // the steps of a sequence are rows of one map
    return shape.length === 3 ? shape : [shape[0], 1, 1];
  }

  #corner(channel) {
    const { columns, zoom, gap } = this.#layout;
    const [, h, w] = this.#shown();
    const [row, column] = [Math.floor(channel / columns), channel % columns];
    return [column * (w * zoom + gap), row * (h * zoom + gap)];
  }

  #paintMaps(context, colours, bytes) {
    const [channels, h, w] = this.#shown();
    const { zoom } = this.#layout;
    const sheet = new OffscreenCanvas(w, h);
    const small = sheet.getContext("2d");
    const image = small.createImageData(w, h);
    const zero = colour("zero");
    for (let channel = 0; channel < channels; channel += 1) {
      for (let pixel = 0; pixel < h * w; pixel += 1) {
        const rgb = bytes ? colours[bytes[channel * h * w + pixel]] : zero;
        image.data.set([...rgb, 255], 4 * pixel);
      }
      small.putImageData(image, 0, 0);
      context.drawImage(sheet, ...this.#corner(channel), w * zoom, h * zoom);
    }
  }

  #paintCells(context, colours, bytes, captions) {
    const [channels] = this.#shown();
    const { zoom } = this.#layout;
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    for (let channel = 0; channel < channels; channel += 1) {
      const [x, y] = this.#corner(channel);
      context.fillStyle = css(bytes ? colours[bytes[channel]] : colour("zero"));
      context.beginPath();
      context.roundRect(x, y, zoom, zoom, zoom > 15 ? 6 : 2);
      context.fill();
      if (captions) {
        context.fillStyle = css(colour("ink"));
        context.fillText(this.#names[channel].slice(0, 6), x + zoom / 2, y + zoom + 15);
      }
    }
  }

  #paintMarks(context) {
    if (this.#windows) {
      const [first, end] = this.#windows.channels;
      const last = Math.min(end, this.#shown()[0]);
      for (let channel = first; channel < last; channel += 1) {
        this.#outline(context, channel, this.#windows.window, 1.5);
      }
    }
    if (this.#unit) {
      const { channel, row, column } = this.#unit;
      this.#outline(context, channel, [row, column, row + 1, column + 1], 2);
    }
  }

  #outline(context, channel, window, line) {
    const [, h, w] = this.#shown();
    const step = this.#answer?.step ?? 1;
    const { zoom } = this.#layout;
    const [x, y] = this.#corner(channel);
    const [top, left, bottom, right] = window ? window.map((side) => side / step) : [0, 0, h, w];
    const box = [x + left * zoom, y + top * zoom, (right - left) * zoom, (bottom - top) * zoom];
    context.lineWidth = line + 2;
    context.strokeStyle = css(colour("halo"));
    context.strokeRect(...box);
    context.lineWidth = line;
    context.strokeStyle = css(colour("mark"));
    context.strokeRect(...box);
  }

  #listen() {
    let pressed = false;
    this.#canvas.addEventListener("pointerdown", (event) => {
      const unit = event.pointerType === "mouse" && event.button === 0 && this.#hit(event);
      if (!unit) return;
      pressed = true;
      this.#canvas.setPointerCapture(event.pointerId);
      this.#choose(unit);
    });
    // A finger that moves scrolls the page; only one that taps chooses.
    this.#canvas.addEventListener("click", (event) => {
      const unit = event.pointerType !== "mouse" && this.#hit(event);
      if (unit) this.#choose(unit);
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      const unit = pressed && this.#hit(event);
      if (unit) this.#choose(unit);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.#canvas.addEventListener(name, () => (pressed = false));
    }
    this.element.addEventListener("keydown", (event) => this.#press(event));
  }

  #hit(event) {
    const box = this.#canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - 1, event.clientY - box.top - 1];
    const [channels, h, w] = this.#shown();
    const { columns, zoom, gap } = this.#layout;
    const column = Math.floor((x + gap / 2) / (w * zoom + gap));
    const row = Math.floor((y + gap / 2) / (h * zoom + gap));
    const channel = row * columns + column;
    if (column < 0 || column >= columns || row < 0 || channel >= channels) return null;
    const [left, top] = this.#corner(channel);
    const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value)));
    const step = this.#answer?.step ?? 1;
    return {
      channel,
      row: inside((y - top) / zoom, h) * step,
      column: inside((x - left) / zoom, w) * step,
    };
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      this.#choose(null);
      return;
    }
    const unit = moved(this.#unit, event.key, this.#shown(), this.#layout, this.#answer?.step ?? 1);
    if (!unit) return;
    event.preventDefault();
    this.#choose(unit);
  }
}

function describe(layer) {
  const [first, ...rest] = layer.shape;
  const what = [
    `${first} numbers`,
    `a sequence of ${first} steps of ${rest[0]} numbers`,
    `${first} maps of ${rest[0]} by ${rest[1]}`,
  ][rest.length];
  return (
    `${layer.name}: ${what}. Arrow keys choose a unit, Page Up and Page Down change the map, ` +
    "Escape closes."
  );
}

/** The drawing area: strokes of mouse, finger or pen, on paper or on an image. */

import { reduced } from "./files.js";
import { History } from "./history.js";

/**
 * @typedef {{x: number, y: number, width: number}} Point in units of the paper
 * @typedef {{strokes: Point[][], image: {file: Blob, bitmap: ImageBitmap} | null}} Sheet
 */

/** Side of the paper; a canvas of any size on the screen is divided into so many units. */
export const SIDE = 280;
/** Width of a stroke without pressure: that of MNIST's, whose digits are 20 pixels high. */
export const STROKE = 20;

const EMPTY = Object.freeze({ strokes: [], image: null });

export class Drawing {
  #history = new History(EMPTY);
  #canvas;
  #hint;
  #stroke = null;
  #writing = 0;
  #changed;

  /**
   * @param {HTMLElement} paper holds the canvas and the hint
   * @param {(finished: boolean) => void} changed called after each change of what is drawn; not
   *     finished while a stroke is being drawn
   */
  constructor(paper, changed) {
    this.#canvas = paper.querySelector("canvas");
    this.#hint = paper.querySelector("p");
    this.#changed = changed;
    this.#listen(paper);
    this.#paint();
  }

  get isEmpty() {
    const { strokes, image } = this.#history.state;
    return !image && !strokes.length && !this.#stroke;
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  /** Take back the last stroke, image or clearing. */
  undo() {
    this.#stop();
    if (this.#history.undo()) this.#refresh(true);
  }

  /** Repeat what was taken back last. */
  redo() {
    this.#stop();
    if (this.#history.redo()) this.#refresh(true);
  }

  /** Remove everything; `undo` brings it back. */
  clear() {
    this.#stop();
    if (this.isEmpty) return;
    this.#history.push(EMPTY);
    this.#refresh(true);
  }

  /**
   * Show an image file instead of the drawing. Throws if the browser cannot read it.
   *
   * @param {Blob} file
   */
  async show(file) {
    const bitmap = await createImageBitmap(file);
    const image = { file: await reduced(file, bitmap), bitmap };
    this.#stop();
    this.#history.push({ strokes: [], image });
    this.#refresh(true);
  }

  /**
   * Write strokes on empty paper, one point after the other; at once if `slowly` is false.
   *
   * @param {Point[][]} strokes
   * @param {boolean} slowly
   */
  write(strokes, slowly) {
    this.#stop();
    this.#history.push({ strokes, image: null });
    if (!slowly) {
      this.#refresh(true);
      return;
    }
    const total = strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    const start = performance.now();
    const step = (now) => {
      const share = Math.min(1, (now - start) / 700);
      const ended = share === 1;
      this.#paint(ended ? Infinity : Math.ceil(share * total));
      this.#changed(ended);
      this.#writing = ended ? 0 : requestAnimationFrame(step);
    };
    this.#writing = requestAnimationFrame(step);
  }

  /**
   * Return what is drawn as an image file: the file that was opened, unless something was drawn on
   * it.
   *
   * @returns {Promise<Blob>}
   */
  async file() {
    const { strokes, image } = this.#history.state;
    if (image && !strokes.length && !this.#stroke) return image.file;
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/png"));
  }

  #listen(paper) {
    paper.addEventListener("pointerdown", (event) => {
      if (this.#stroke || !event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      paper.focus({ preventScroll: true });
      paper.setPointerCapture(event.pointerId);
      this.#stop();
      this.#stroke = [this.#point(event)];
      this.#refresh(false);
    });
    paper.addEventListener("pointermove", (event) => {
      if (!this.#stroke || !event.isPrimary) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.#stroke.push(this.#point(each));
      this.#refresh(false);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      paper.addEventListener(name, (event) => {
        if (event.isPrimary) this.#finish();
      });
    }
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    // A mouse reports 0.5 while a button is pressed, and a finger often 0 or 1.
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return {
      x: ((event.clientX - box.left) / box.width) * SIDE,
      y: ((event.clientY - box.top) / box.height) * SIDE,
      width: STROKE * (0.6 + 0.8 * pressure),
    };
  }

  #finish() {
    if (!this.#stroke) return;
    const { strokes, image } = this.#history.state;
    this.#history.push({ strokes: [...strokes, this.#stroke], image });
    this.#stroke = null;
    this.#refresh(true);
  }

  /** Complete at once what is being written. */
  #stop() {
    cancelAnimationFrame(this.#writing);
    this.#writing = 0;
    this.#finish();
  }

  #refresh(finished) {
    this.#paint();
    this.#changed(finished);
  }

  /** Paint the sheet, of all strokes together the first `points` points. */
  #paint(points = Infinity) {
    const { strokes, image } = this.#history.state;
    const context = this.#canvas.getContext("2d");
    const { width, height } = this.#canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    if (image) {
      const scale = Math.min(width / image.bitmap.width, height / image.bitmap.height);
      const [w, h] = [image.bitmap.width * scale, image.bitmap.height * scale];
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(image.bitmap, (width - w) / 2, (height - h) / 2, w, h);
    }
    context.scale(width / SIDE, height / SIDE);
    context.lineCap = "round";
    context.lineJoin = "round";
    context.strokeStyle = "black";
    let left = points;
    for (const stroke of this.#stroke ? [...strokes, this.#stroke] : strokes) {
      paintStroke(context, stroke.slice(0, Math.max(0, left)));
      left -= stroke.length;
    }
    this.#hint.hidden = !this.isEmpty;
  }
}

function paintStroke(context, points) {
  for (const [index, point] of points.entries()) {
    const from = points[Math.max(0, index - 1)];
    context.lineWidth = (from.width + point.width) / 2;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(point.x, point.y);
    context.stroke();
  }
}

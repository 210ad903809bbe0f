/** Image files that are chosen, dropped or pasted. */

import { MAX_BODY } from "./api.js";
import { byId } from "./dom.js";

// Pixels of an image that the server decodes, and the longer side of one that had more.
const MOST_PIXELS = 1 << 24;
const REDUCED_SIDE = 1600;

/**
 * Call `open` with each image file that the user brings.
 *
 * @param {HTMLElement} paper is marked while a file is dragged over the page
 * @param {(file: File) => void} open
 */
export function acceptFiles(paper, open) {
  const input = byId("file");
  input.addEventListener("change", () => {
    if (input.files.length) open(input.files[0]);
    input.value = ""; // the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const file = first(event.clipboardData);
    if (file) open(file);
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    paper.classList.add("target");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) paper.classList.remove("target");
  });
  document.addEventListener("drop", (event) => {
    paper.classList.remove("target");
    const file = first(event.dataTransfer);
    if (!file) return;
    event.preventDefault();
    open(file);
  });
}

/**
 * Return an image file that the server accepts: a smaller copy if this one is too large.
 *
 * @param {Blob} file
 * @param {ImageBitmap} bitmap its pixels
 * @returns {Promise<Blob>}
 */
export async function reduced(file, bitmap) {
  const { width, height } = bitmap;
  if (file.size <= MAX_BODY && width * height <= MOST_PIXELS) return file;
  const scale = Math.min(1, REDUCED_SIDE / Math.max(width, height));
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(width * scale)),
    Math.max(1, Math.round(height * scale)),
  );
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

function first(data) {
  return data?.files.length ? data.files[0] : null;
}

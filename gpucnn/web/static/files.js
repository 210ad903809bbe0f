/** Image files that are chosen, dropped or pasted. */

import { byId } from "./dom.js";

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

function first(data) {
  return data?.files.length ? data.files[0] : null;
}

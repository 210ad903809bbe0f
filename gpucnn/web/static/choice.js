/** Which networks are shown; the page's address keeps the choice. */

import { byId, make } from "./dom.js";

/**
 * Fill the list of networks and return the ids of those that are shown at first: those in the
 * page's address, or else the first one.
 *
 * @param {{id: string, title: string}[]} models
 * @param {(ids: string[]) => void} changed called with the ids whenever the choice changes
 * @returns {string[]}
 */
export function offerModels(models, changed) {
  const known = models.map((model) => model.id);
  const asked = new URLSearchParams(location.search).getAll("model");
  const shown = known.filter((id) => asked.includes(id));
  if (!shown.length) shown.push(...known.slice(0, 1));
  const list = byId("choice");
  list.hidden = models.length < 2;
  const boxes = models.map((model) => {
    const box = make("input", { type: "checkbox", value: model.id });
    box.checked = shown.includes(model.id);
    box.addEventListener("change", () => choose(boxes, box, changed));
    list.append(make("label", {}, box, make("span", {}, model.title)));
    return box;
  });
  return shown;
}

function choose(boxes, box, changed) {
  const ids = boxes.filter((each) => each.checked).map((each) => each.value);
  if (!ids.length) {
    box.checked = true; // one network is always shown
    return;
  }
  const query = new URLSearchParams(ids.map((id) => ["model", id]));
  history.replaceState(null, "", `?${query}`);
  changed(ids);
}

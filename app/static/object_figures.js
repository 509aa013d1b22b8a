// @ts-check
// Figures of the objects in the chosen image: count, median area, share of the image.

import { byId } from "./dom.js";
import { number, percent, summarise } from "./statistics.js";

/**
 * Shows the figures, and returns them as a sentence.
 *
 * @param {Uint32Array} areas of the objects, in pixels
 * @param {number} pixels of the image
 */
export function showObjectFigures(areas, pixels) {
  const { count, median, share, text } = summarise(areas, pixels);
  byId("count").textContent = number(count);
  byId("median").textContent = median === null ? "–" : `${number(median)} px`;
  byId("share").textContent = percent(share);
  byId("summary").textContent = text;
  return text;
}

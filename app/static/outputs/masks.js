// @ts-check
// Masks and ids of objects as pictures, as `_picture` of model/outputs/output.py.

import { dropSmall, findRegions } from "../regions.js";
import { checkIds } from "./facts.js";

const FOREGROUND = 255; // of a net of one class

/**
 * The mask of a page as it is written.
 *
 * @param {object} page
 * @param {Uint8Array | Uint16Array} page.data the result: probabilities, or class indices
 * @param {number} page.width
 * @param {number | null} page.level lowest probability of the foreground; null if the result has class indices
 * @param {import("../objects.js").Rule} page.rule
 * @param {boolean} page.dropsSpecks true if a person chose the smallest object; the stored one stays in the mask
 * @param {import("../objects.js").Corrected | null} page.corrected
 * @param {import("../regions.js").Labels & { mask: ArrayLike<number> }} page.labels the objects
 * @returns {Uint8Array} 255 or class indices
 */
export function maskToWrite({ data, width, level, rule, dropsSpecks, corrected, labels }) {
  if (corrected) return corrected.kind === "classes" ? new Uint8Array(corrected.values) : binary(corrected.values, 1);
  if (level !== null) return dropsSpecks ? binary(labels.mask, 1) : binary(data, level);
  const mask = new Uint8Array(data);
  if (!dropsSpecks) return mask;
  const { ids } = rule.objects === "interiors" ? dropSmall(findRegions(data, width), rule.min_area) : labels;
  return mask.map((value, pixel) => (ids[pixel] ? value : 0));
}

/**
 * The value of each object in the mask.
 *
 * @param {number} count
 */
export function foregroundOf(count) {
  return new Uint8Array(count).fill(FOREGROUND);
}

/**
 * The ids of a page as a picture of 16 bits. Throws if there are too many objects.
 *
 * @param {import("./facts.js").OutputPage} page
 */
export function idsOf({ width, height, labels }) {
  checkIds(labels.count);
  return { width, height, channels: 1, data: new Uint16Array(labels.ids) };
}

function binary(values, level) {
  const mask = new Uint8Array(values.length);
  for (let i = 0; i < mask.length; i++) mask[i] = values[i] >= level ? FOREGROUND : 0;
  return mask;
}

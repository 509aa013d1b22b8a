// @ts-check
// Objects by the rules of the weights file: those of model/outputs/objects.py.

import { dropSmall, findRegions } from "./regions.js";
import { growObjects } from "./watershed.js";

const FULL = 255; // the level of probability 1.0

/**
 * @typedef {object} Rule how a mask becomes objects, see `ObjectRule` of the service
 * @property {"regions" | "interiors" | "seeds"} objects
 * @property {number} min_area objects with fewer pixels of the mask are dropped
 */

/**
 * Finds the objects of a net of one class, by a rule that `isCountedHere`; `mask` is 1 in objects before they grow.
 *
 * @param {Uint16Array} probabilities 65535 = 1.0, row by row
 * @param {number} width
 * @param {number} level lowest probability of the foreground
 * @param {Rule} rule
 * @returns {import("./regions.js").Labels & { mask: Uint8Array }}
 */
export function findObjects(probabilities, width, level, rule) {
  const mask = new Uint8Array(probabilities.length);
  for (let i = 0; i < mask.length; i++) mask[i] = probabilities[i] >= level ? 1 : 0;
  const found = dropSmall(findRegions(mask, width), rule.min_area);
  for (let i = 0; i < mask.length; i++) if (!found.ids[i]) mask[i] = 0;
  if (rule.objects === "interiors" && found.count) growObjects(found.ids, reliefOf(probabilities), width);
  return { ...found, mask };
}

/**
 * A mask that a person corrected.
 *
 * @typedef {object} Corrected
 * @property {"mask" | "classes" | "instances"} kind what the values mean: 1 is foreground, class indices, or object ids
 * @property {Uint8Array | Int32Array} values one a pixel, row by row; 0 is background
 */

/**
 * Finds the objects of a corrected mask: connected pixels of equal value, without a smallest area. They grow only if the
 * rule of a net of one class says so.
 *
 * @param {Corrected} corrected
 * @param {Uint16Array} probabilities as for `findObjects`; not read unless objects grow
 * @param {number} width
 * @param {Rule} rule
 * @returns {import("./regions.js").Labels & { mask: Uint8Array }} `mask` is that of the corrected values
 */
export function findCorrectedObjects({ kind, values }, probabilities, width, rule) {
  const found = findRegions(values, width);
  const grows = kind === "mask" && rule.objects === "interiors" && found.count > 0;
  if (grows) growObjects(found.ids, reliefOf(probabilities), width);
  return { ...found, mask: kind === "instances" ? Uint8Array.from(values, (id) => (id ? 1 : 0)) : Uint8Array.from(values) };
}

/**
 * Whether the page finds the objects itself. The service finds those that are split at their necks, which depends on how
 * OpenCV blurs, and those that grow in a net of several classes, whose probabilities the page does not have.
 *
 * @param {Rule} rule
 * @param {boolean} isOneClass
 */
export function isCountedHere(rule, isOneClass) {
  return rule.objects === "regions" || (rule.objects === "interiors" && isOneClass);
}

/** Low where the probability is high: objects grow there first. */
function reliefOf(probabilities) {
  const relief = new Uint8Array(probabilities.length);
  for (let i = 0; i < relief.length; i++) relief[i] = FULL - Math.round(probabilities[i] / 257); // 65535 / FULL
  return relief;
}

// @ts-check
// What outputs need to know of an image and its net, and of each page.

import { colourOf } from "../paint.js";

/**
 * @typedef {object} Facts
 * @property {string} name of the image file, as the service writes it
 * @property {number} pages number of pages
 * @property {Record<number, string>} labels the meaning of the mask's values
 * @property {{ x: number, y: number, z: number } | null} pixelSize micrometres; z is the distance between sections, 0 if
 *   unknown
 * @property {{ z: number, t: number }[]} places section and time of each page, from 0; none for pages without axes
 * @property {number | null} channel index of the chosen channel; null if there is no choice
 * @property {boolean} hasChannels whether the file has several channels
 */

/**
 * @typedef {object} OutputPage
 * @property {number} index from 0
 * @property {number} width pixels
 * @property {number} height
 * @property {import("../regions.js").Labels} labels the objects
 * @property {Uint8Array} classes the value of each object in the mask
 * @property {Uint8Array} mask the values of the mask, one a pixel: 255, or class indices
 * @property {import("../measurements.js").Shapes} shapes
 * @property {any} image the raster that the net got; null if the browser cannot read it as stored
 * @property {import("../measurements.js").Intensities[] | null} intensities of all channels; null if they are unknown
 */

const FOREGROUND = 255; // the only class of a net of one class
const MOST_OBJECTS = 65535; // as many as 16 bits tell apart

/** The name of a class. */
export function labelOf({ labels }, value) {
  return labels[value] ?? String(value);
}

/** `[red, green, blue]` of a class. */
export function colourOfClass(value) {
  return colourOf(value === FOREGROUND ? 1 : value);
}

/** Throws if all pages together have too many objects for a table or for ROIs. */
export function checkCount(count) {
  if (count > MOST_OBJECTS) {
    throw new Error(`There are ${count} objects, more than ${MOST_OBJECTS}. Raise the smallest object to drop specks.`);
  }
}

/** Throws if a page has too many objects for ids of 16 bits. */
export function checkIds(count) {
  if (count > MOST_OBJECTS) {
    throw new Error(`There are ${count} objects, more than the ${MOST_OBJECTS} that 16 bits tell apart.`);
  }
}

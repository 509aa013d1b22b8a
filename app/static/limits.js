// @ts-check
// Limits of the service, checked before a file is sent: a refusal after a long upload is late.

import { dimensionsOf } from "./dimensions.js";

const DIGITS = { maximumSignificantDigits: 3 };
const MEGABYTES = new Intl.NumberFormat("en", { style: "unit", unit: "megabyte", ...DIGITS });
const NUMBER = new Intl.NumberFormat("en", DIGITS);

/**
 * @typedef {object} Limits as GET /model gives them
 * @property {number} max_body_bytes
 * @property {number} max_pixels
 */

/** @param {Limits} limits */
export function describeLimits({ max_body_bytes, max_pixels }) {
  return `Files up to ${megabytes(max_body_bytes)}, images up to ${megapixels(max_pixels)}.`;
}

/**
 * Which limit a file exceeds, in words for the person, or null.
 *
 * @param {File} file
 * @param {Limits} limits
 */
export async function findExcess(file, { max_body_bytes, max_pixels }) {
  if (file.size > max_body_bytes) {
    return `The file has ${megabytes(file.size)}; this server accepts ${megabytes(max_body_bytes)}.`;
  }
  const size = await dimensionsOf(file);
  if (!size || size.width * size.height <= max_pixels) return null;
  const pixels = `${size.width} × ${size.height} pixels`;
  return `The image has ${pixels}; this server accepts ${megapixels(max_pixels)}.`;
}

function megabytes(bytes) {
  return MEGABYTES.format(bytes / 1e6);
}

function megapixels(pixels) {
  return `${NUMBER.format(pixels / 1e6)} megapixel${pixels === 1e6 ? "" : "s"}`;
}

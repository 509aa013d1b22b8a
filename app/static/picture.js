// @ts-check
// What is shown of an image file: by the browser's own decoder where it is right, else by the worker.

import { ask } from "./decoder.js";
import { readHeader } from "./png.js";
import { stepFor } from "./raster.js";

// A canvas of this size works in every browser; what is larger is shown with fewer pixels, and computed with all.
const LIMITS = { most: 2 ** 24, side: 8192 };
const PLAIN = { isAuto: true, gamma: 1 };
const THUMBNAIL = { most: 200 ** 2, side: 400 };

/**
 * A page as a canvas, no larger than the limits. Throws if it cannot be shown.
 *
 * @param {string} key names the file for the worker
 * @param {File} file
 * @param {number} index of the page
 * @param {import("./contrast.js").Contrast} contrast
 * @returns {Promise<{ canvas: HTMLCanvasElement, isStretched: boolean }>} `isStretched`: other contrasts differ
 */
export async function loadPicture(key, file, index, contrast) {
  return load(key, file, index, { ...LIMITS, contrast, isKept: true });
}

/** Likewise, small. */
export async function loadThumbnail(key, file) {
  return (await load(key, file, 0, { ...THUMBNAIL, contrast: PLAIN, isKept: false })).canvas;
}

/** The objects of a page and their measurements, as `worker.js` gives them, with ids no larger than the limits. */
export function findObjects(parameters) {
  return ask("objects", { ...parameters, ...LIMITS });
}

/** The result's values for a page, as `worker.js` gives them, no larger than the limits. */
export function loadValues(key, blob, index) {
  return ask("values", { key, blob, index, ...LIMITS });
}

async function load(key, file, index, options) {
  if (options.contrast.gamma !== 1 || (await isForWorker(file))) {
    const { width, height, data, isStretched } = await ask("picture", { key, blob: file, index, ...options });
    return { canvas: toCanvas(new ImageData(data, width, height)), isStretched };
  }
  // as stored, like the mask: a rotation written into the file is not applied
  const bitmap = await createImageBitmap(file, { imageOrientation: "none" });
  const step = stepFor(bitmap.width, bitmap.height, options.most, options.side);
  const canvas = emptyCanvas(Math.ceil(bitmap.width / step), Math.ceil(bitmap.height / step));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { canvas, isStretched: false };
}

/** TIFF, and 16-bit PNG, of which a browser would show the upper 8 bits alone: black, for many cameras. */
async function isForWorker(file) {
  const bytes = new Uint8Array(await file.slice(0, 33).arrayBuffer());
  const header = readHeader(bytes);
  if (header) return header.depth === 16 && !header.interlaced;
  const start = String.fromCharCode(...bytes.subarray(0, 2));
  return start === "II" || start === "MM";
}

export function emptyCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Uint32Array<ArrayBuffer>} pixels RGBA, as many as the canvas has
 */
export function putPixels(canvas, pixels) {
  const bytes = new Uint8ClampedArray(pixels.buffer);
  canvas.getContext("2d").putImageData(new ImageData(bytes, canvas.width, canvas.height), 0, 0);
}

function toCanvas(pixels) {
  const canvas = emptyCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// @ts-check
// The mask as two pictures: filled objects, and their outlines.

import { paintRegions, pixelOf } from "./paint.js";
import { emptyCanvas, putPixels } from "./picture.js";

/**
 * The stored probability, 0..65535, from which a pixel is foreground. The service compares before it rounds to 16 bits;
 * of the two values that a rounded threshold may become, this one agrees with it for more of the probabilities.
 */
export function levelOf(threshold) {
  return Math.ceil(threshold * 65535 - 0.001);
}

// Translucent pixels that mark changes: blue for what was added, red for what was removed, as in the legend in style.css.
const ADDED = 0xd0ff6a1f;
const REMOVED = 0xd02a1fd6;

/** Canvases `layers.fill` and `layers.outline`, and `layers.changes` of a corrected mask; `layers.image` is for others. */
export class Mask {
  constructor(width, height) {
    /** @type {Record<string, HTMLCanvasElement | null>} */
    this.layers = { fill: emptyCanvas(width, height), outline: emptyCanvas(width, height) };
  }

  /** Of values, one a pixel: those from `level` on are foreground; without a level they are classes. */
  paint(data, level) {
    const classes = level === null ? data : binary(data, level);
    const painted = paintRegions(classes, this.layers.fill.width, colourOfClass);
    putPixels(this.layers.fill, painted.fill);
    putPixels(this.layers.outline, painted.outline);
    this.layers.changes = null;
  }

  /**
   * Paints a part of a corrected mask, and marks what was changed in the layer `changes`.
   *
   * @param {import("./correcting/corrected_page.js").CorrectedPage} page
   * @param {import("./correcting/corrected_page.js").Box} box of the page
   */
  paintCorrected(page, box) {
    const { width, height } = this.layers.fill;
    const step = Math.ceil(page.width / width);
    this.layers.changes ??= emptyCanvas(width, height);
    // two pixels more on each side: the outline of a pixel depends on its neighbours
    const [left, top] = [box.left, box.top].map((start) => Math.max(0, Math.floor(start / step) - 2));
    const right = Math.min(width, Math.ceil(box.right / step) + 2);
    const bottom = Math.min(height, Math.ceil(box.bottom / step) + 2);
    const part = { left, top, width: right - left, height: bottom - top };
    const values = cut(page.values, page.width, step, part);
    const { fill, outline } = paintRegions(values, part.width, page.kind === "classes" ? colourOfClass : () => pixelOf(0));
    const changes = changesBetween(cut(page.original, page.width, step, part), values);
    for (const [layer, pixels] of Object.entries({ fill, outline, changes })) this.#put(this.layers[layer], pixels, part);
  }

  /** Puts a part into a canvas, without its outermost pixels, unless they are at the border of the image. */
  #put(canvas, pixels, { left, top, width, height }) {
    const [x, y] = [left ? 1 : 0, top ? 1 : 0];
    const right = left + width < canvas.width ? width - 1 : width;
    const bottom = top + height < canvas.height ? height - 1 : height;
    const image = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
    canvas.getContext("2d").putImageData(image, left, top, x, y, right - x, bottom - y);
  }
}

function colourOfClass(value) {
  return pixelOf(value - 1);
}

/** Every `step`th value of every `step`th row of a part, which is in steps. */
function cut(values, width, step, part) {
  const found = new Int32Array(part.width * part.height);
  for (let y = 0, to = 0; y < part.height; y++) {
    for (let x = 0; x < part.width; x++) found[to++] = values[(part.top + y) * step * width + (part.left + x) * step];
  }
  return found;
}

function changesBetween(before, after) {
  return Uint32Array.from(after, (value, pixel) => (value === before[pixel] ? 0 : value ? ADDED : REMOVED));
}

function binary(data, level) {
  const classes = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) classes[i] = data[i] >= level ? 1 : 0;
  return classes;
}

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

/** Two canvases, `layers.fill` and `layers.outline`. */
export class Mask {
  constructor(width, height) {
    this.layers = { fill: emptyCanvas(width, height), outline: emptyCanvas(width, height) };
  }

  /** Of values, one a pixel: those from `level` on are foreground; without a level they are classes. */
  paint(data, level) {
    const classes = level === null ? data : binary(data, level);
    const painted = paintRegions(classes, this.layers.fill.width, (value) => pixelOf(value - 1));
    putPixels(this.layers.fill, painted.fill);
    putPixels(this.layers.outline, painted.outline);
  }
}

function binary(data, level) {
  const classes = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) classes[i] = data[i] >= level ? 1 : 0;
  return classes;
}

// @ts-check
// The mask as two pictures: filled objects, and their outlines.

import { emptyCanvas } from "./picture.js";

// As in the service's overlays: told apart by most colour-blind people (Okabe and Ito 2008).
const PALETTE = [
  [0, 158, 115],
  [230, 159, 0],
  [86, 180, 233],
  [204, 121, 167],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
];

/** `[red, green, blue]` of a class, from 1 on. */
export function colourOf(value) {
  return PALETTE[(value - 1) % PALETTE.length];
}

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
    const { width, height } = this.layers.fill;
    const classes = level === null ? data : binary(data, level);
    const [fill, outline] = [new Uint32Array(width * height), new Uint32Array(width * height)];
    for (let i = 0, x = 0; i < classes.length; i++, x = x + 1 === width ? 0 : x + 1) {
      const value = classes[i];
      if (!value) continue;
      fill[i] = pixelOf(value);
      const inside =
        (x === 0 || classes[i - 1] === value) &&
        (x + 1 === width || classes[i + 1] === value) &&
        (i < width || classes[i - width] === value) &&
        (i + width >= classes.length || classes[i + width] === value);
      if (!inside) outline[i] = fill[i];
    }
    put(this.layers.fill, fill);
    put(this.layers.outline, outline);
  }
}

function binary(data, level) {
  const classes = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) classes[i] = data[i] >= level ? 1 : 0;
  return classes;
}

const PIXELS = PALETTE.map(([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);

function pixelOf(value) {
  return PIXELS[(value - 1) % PIXELS.length];
}

function put(canvas, pixels) {
  const bytes = new Uint8ClampedArray(pixels.buffer);
  canvas.getContext("2d").putImageData(new ImageData(bytes, canvas.width, canvas.height), 0, 0);
}

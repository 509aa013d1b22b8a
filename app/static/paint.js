// @ts-check
// Colours of regions, pixel by pixel.

// As in the service's overlays: told apart by most colour-blind people (Okabe and Ito 2008).
export const PALETTE = [
  [0, 158, 115],
  [230, 159, 0],
  [86, 180, 233],
  [204, 121, 167],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
];

const PIXELS = PALETTE.map(([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);

/** `[red, green, blue]` of a class, from 1 on. */
export function colourOf(value) {
  return PALETTE[(value - 1) % PALETTE.length];
}

/** The RGBA pixel, as a number of 32 bits, of the palette's colour number `index`. */
export function pixelOf(index) {
  return PIXELS[index % PIXELS.length];
}

/**
 * Paints regions of equal value, and their outlines of one pixel.
 *
 * @param {ArrayLike<number>} values one a pixel, row by row; 0 is background
 * @param {number} width
 * @param {(value: number) => number} paintOf gives the RGBA pixel of a value, 0 for none
 * @returns {{ fill: Uint32Array<ArrayBuffer>, outline: Uint32Array<ArrayBuffer> }}
 */
export function paintRegions(values, width, paintOf) {
  const [fill, outline] = [new Uint32Array(values.length), new Uint32Array(values.length)];
  for (let i = 0, x = 0; i < values.length; i++, x = x + 1 === width ? 0 : x + 1) {
    const value = values[i];
    if (!value) continue;
    fill[i] = paintOf(value);
    const inside =
      (x === 0 || values[i - 1] === value) &&
      (x + 1 === width || values[i + 1] === value) &&
      (i < width || values[i - width] === value) &&
      (i + width >= values.length || values[i + width] === value);
    if (!inside) outline[i] = fill[i];
  }
  return { fill, outline };
}

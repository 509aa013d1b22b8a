// @ts-check
// Pixels in memory: `{ width, height, channels, data }`, `data` an array of numbers, as stored, row by row. If the numbers
// are not those of the file, there is also `isConverted`.

const CUT = 0.0035; // share of the pixels that may be black, and white, by contrast "auto": that of ImageJ
const MOST_SAMPLES = 2 ** 20;
const FINE = 16; // steps of brightness for one of 255, so that gamma loses none of the dark ones
const TONES = 255 * FINE + 1;

/** Of how many rows and columns one is shown, so that no more than `most` pixels and `side` pixels a side are. */
export function stepFor(width, height, most, side) {
  return Math.ceil(Math.max(1, Math.sqrt((width * height) / most), width / side, height / side));
}

/** Every `step`th pixel of every `step`th row. */
export function shrink(raster, step) {
  if (step === 1) return raster;
  const { channels, data } = raster;
  const [width, height] = [Math.ceil(raster.width / step), Math.ceil(raster.height / step)];
  const kept = new data.constructor(width * height * channels);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * step * raster.width + x * step) * channels;
      for (let channel = 0; channel < channels; channel++) kept[to++] = data[from + channel];
    }
  }
  return { width, height, channels, data: kept };
}

/**
 * RGBA, 8 bits, opaque. Other than 8 bits are stretched, because few files use all their values.
 *
 * @param {any} raster
 * @param {import("./contrast.js").Contrast} contrast
 */
export function toRgba({ width, height, channels, data }, { isAuto, gamma }) {
  const [low, high] = isStretched({ data }) ? rangeOf(data, channels, isAuto) : [0, 255];
  const scale = 255 / (high - low);
  const tones = Uint8ClampedArray.from({ length: TONES }, (_, tone) => 255 * (tone / (TONES - 1)) ** gamma);
  const bright = (value) => tones[Math.min(TONES - 1, Math.max(0, Math.round((value - low) * scale * FINE)))] ?? 0;
  const rgba = new Uint8ClampedArray(width * height * 4);
  const [green, blue] = channels >= 3 ? [1, 2] : [0, 0];
  for (let from = 0, to = 0; to < rgba.length; from += channels, to += 4) {
    rgba[to] = bright(data[from]);
    rgba[to + 1] = bright(data[from + green]);
    rgba[to + 2] = bright(data[from + blue]);
    rgba[to + 3] = 255;
  }
  return rgba;
}

/** Whether the values are stretched to be seen. */
export function isStretched({ data }) {
  return !(data instanceof Uint8Array);
}

/** The values that are black and white. */
function rangeOf(data, channels, isAuto) {
  const values = valuesOf(data, channels, isAuto ? Math.ceil(data.length / MOST_SAMPLES) : 1);
  if (isAuto) {
    const sorted = values.sort();
    const [low, high] = [CUT, 1 - CUT].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
    if (low < high) return [low, high];
  }
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return high > low ? [low, high] : [low, low + 1];
}

/** The finite values of every `step`th pixel, without the opacity. */
function valuesOf(data, channels, step) {
  const colours = channels >= 3 ? 3 : 1;
  const values = new Float64Array(Math.ceil(data.length / channels / step) * colours);
  let count = 0;
  for (let i = 0; i < data.length; i += channels * step) {
    for (let at = i; at < i + colours; at++) if (Number.isFinite(data[at])) values[count++] = data[at];
  }
  return values.subarray(0, count);
}

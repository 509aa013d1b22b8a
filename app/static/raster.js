// @ts-check
// Pixels in memory: `{ width, height, channels, data }`, `data` an array of numbers, as stored, row by row. If the numbers
// are not those of the file, there is also `isConverted`.

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

/** RGBA, 8 bits, opaque. Other than 8 bits are stretched from the lowest to the highest value: few files use them all. */
export function toRgba({ width, height, channels, data }) {
  const [low, scale] = data instanceof Uint8Array ? [0, 1] : rangeOf(data, channels);
  const rgba = new Uint8ClampedArray(width * height * 4);
  const [green, blue] = channels >= 3 ? [1, 2] : [0, 0];
  for (let from = 0, to = 0; to < rgba.length; from += channels, to += 4) {
    rgba[to] = (data[from] - low) * scale;
    rgba[to + 1] = (data[from + green] - low) * scale;
    rgba[to + 2] = (data[from + blue] - low) * scale;
    rgba[to + 3] = 255;
  }
  return rgba;
}

function rangeOf(data, channels) {
  const colours = channels >= 3 ? 3 : 1; // without the opacity
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < data.length; i++) {
    if (i % channels >= colours || !Number.isFinite(data[i])) continue;
    if (data[i] < low) low = data[i];
    if (data[i] > high) high = data[i];
  }
  return high > low ? [low, 255 / (high - low)] : [low, 1];
}

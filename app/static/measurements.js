// @ts-check
// Measurements of objects, equal to those of model/outputs/table.py.

const COLOURS = ["red", "green", "blue"];

/**
 * Columns with an element for each object; the object with id 1 is the first.
 *
 * @typedef {object} Shapes
 * @property {Uint32Array} area pixels
 * @property {Float64Array} x of the centroid, pixels from the image's left edge; the centre of the first pixel is at 0.5
 * @property {Float64Array} y of the centroid, pixels from the image's top edge
 * @property {Int32Array} left of the bounding box, pixels
 * @property {Int32Array} top
 * @property {Int32Array} boxWidth
 * @property {Int32Array} boxHeight
 * @property {Uint8Array} touchesBorder 1 if the object touches the image's border
 */

/**
 * Measures sizes and places.
 *
 * @param {import("./regions.js").Labels} labels
 * @param {number} width
 * @returns {Shapes}
 */
export function measureShapes({ ids, count }, width) {
  const height = ids.length / width;
  const [area, x, y] = [new Uint32Array(count), new Float64Array(count), new Float64Array(count)];
  const [left, top] = [new Int32Array(count).fill(width), new Int32Array(count).fill(height)];
  const [right, bottom] = [new Int32Array(count), new Int32Array(count)];
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      const object = ids[i] - 1;
      if (object < 0) continue;
      area[object]++;
      x[object] += column;
      y[object] += row;
      if (column < left[object]) left[object] = column;
      if (column >= right[object]) right[object] = column + 1;
      if (row < top[object]) top[object] = row;
      bottom[object] = row + 1;
    }
  }
  const touches = (_, object) =>
    left[object] === 0 || top[object] === 0 || right[object] === width || bottom[object] === height ? 1 : 0;
  return {
    area,
    x: x.map((sum, object) => sum / area[object] + 0.5),
    y: y.map((sum, object) => sum / area[object] + 0.5),
    left,
    top,
    boxWidth: right.map((end, object) => end - left[object]),
    boxHeight: bottom.map((end, object) => end - top[object]),
    touchesBorder: Uint8Array.from(area, touches),
  };
}

/**
 * Mean value in each object, channel by channel; NaN if no pixel of the object has a finite value.
 *
 * @param {import("./regions.js").Labels} labels
 * @param {{ channels: number, data: ArrayLike<number> }} raster the image, as large as the ids
 * @returns {{ name: string, values: Float64Array }[]} `name` is "" if there is only one channel; opacity is left out
 */
export function measureIntensities(labels, { channels, data }) {
  const names = channels >= 3 ? COLOURS : [""];
  return names.map((name, channel) => ({ name, values: meansOf(labels, channels, data, channel) }));
}

/**
 * Values of a channel in each object; NaN if no pixel of the object has a finite value.
 *
 * @typedef {object} Intensities
 * @property {string} name of the channel, "" if there is only one
 * @property {Float64Array} mean
 * @property {Float64Array} std standard deviation of all pixels, not of a sample
 * @property {Float64Array} min
 * @property {Float64Array} max
 */

/**
 * Measures the intensities of an image channel by channel.
 *
 * @param {import("./regions.js").Labels} labels
 * @param {{ channels: number, data: ArrayLike<number> }} raster as for `measureIntensities`
 * @returns {Intensities[]}
 */
export function describeIntensities(labels, raster) {
  return measureIntensities(labels, raster).map(({ name, values: mean }, channel) => {
    return { name, mean, ...spreadsOf(labels, raster, channel, mean) };
  });
}

/**
 * The class of each object: the mask's value in it.
 *
 * @param {import("./regions.js").Labels} labels
 * @param {ArrayLike<number>} mask
 */
export function classesOf({ ids, count }, mask) {
  const classes = new Uint8Array(count);
  for (let i = 0; i < ids.length; i++) if (ids[i] && mask[i]) classes[ids[i] - 1] = mask[i];
  return classes;
}

function meansOf({ ids, count }, channels, data, channel) {
  const [sums, pixels] = [new Float64Array(count), new Uint32Array(count)];
  for (let i = 0, at = channel; i < ids.length; i++, at += channels) {
    const object = ids[i] - 1;
    if (object < 0 || !Number.isFinite(data[at])) continue;
    sums[object] += data[at];
    pixels[object]++;
  }
  return sums.map((sum, object) => sum / pixels[object]);
}

/** Standard deviation, lowest and highest value in each object. */
function spreadsOf({ ids, count }, { channels, data }, channel, mean) {
  const [squares, pixels] = [new Float64Array(count), new Uint32Array(count)];
  const [min, max] = [new Float64Array(count).fill(NaN), new Float64Array(count).fill(NaN)];
  for (let i = 0, at = channel; i < ids.length; i++, at += channels) {
    const [object, value] = [ids[i] - 1, data[at]];
    if (object < 0 || !Number.isFinite(value)) continue;
    squares[object] += (value - mean[object]) ** 2;
    pixels[object]++;
    if (!(min[object] <= value)) min[object] = value; // also if there is no value yet, which is NaN
    if (!(max[object] >= value)) max[object] = value;
  }
  return { std: squares.map((sum, object) => Math.sqrt(sum / pixels[object])), min, max };
}

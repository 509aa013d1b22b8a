// Objects of a net of one class, by the rules of the weights file: those of model/outputs/objects.py.

import { areasOf } from "./regions.js";

const FULL = 255; // the level of probability 1.0
const LINE = -1;

/**
 * The areas in pixels of all objects. `probabilities`: 65535 = 1.0, row by row; pixels from `level` on are foreground.
 * `rule`: `objects` and `seed_threshold` as GET /model gives them.
 */
export function objectAreas(probabilities, width, level, rule) {
  const mask = new Uint8Array(probabilities.length);
  for (let i = 0; i < mask.length; i++) mask[i] = probabilities[i] >= level ? 1 : 0;
  if (rule.objects === "regions") return areasOf(mask, width);
  const levels = new Uint8Array(probabilities.length);
  for (let i = 0; i < levels.length; i++) levels[i] = Math.round(probabilities[i] / 257); // 65535 / FULL
  return rule.objects === "interiors" ? grown(mask, levels, width) : split(mask, levels, width, rule.seed_threshold);
}

/** Regions of the mask, grown until lines of one pixel separate them. */
function grown(mask, levels, width) {
  const ids = labelled(mask, width);
  return ids.count ? flooded(ids, mask.fill(1), levels, width, true) : new Uint32Array();
}

/** Regions of the mask, split where they hold several seeds. A region without a seed is one object. */
function split(mask, levels, width, threshold) {
  const lowest = Math.ceil(threshold * FULL - 0.5);
  const areas = flooded(labelled(mask.map((inside, i) => inside && levels[i] >= lowest), width), mask, levels, width, false);
  const unseeded = areasOf(mask, width); // of what the flood has not reached: it clears the mask as it goes
  return Uint32Array.of(...areas, ...unseeded);
}

/** `values`: 1, 2, ... in the 4-connected regions of the mask, 0 elsewhere; and their `count`. */
function labelled(mask, width) {
  const values = new Int32Array(mask.length);
  const stack = [];
  let count = 0;
  const visit = (pixel) => {
    if (!mask[pixel] || values[pixel]) return;
    values[pixel] = count;
    stack.push(pixel);
  };
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || values[start]) continue;
    count++;
    visit(start);
    while (stack.length) forNeighbours(stack.pop(), width, mask.length, visit);
  }
  return { values, count };
}

/**
 * A watershed: the regions grow within the mask, over high levels first; of equal pixels the first to be reached is the
 * first to grow. With `lines`, a pixel where two regions meet belongs to neither. Gives the areas, and clears the mask
 * where it was.
 */
function flooded({ values, count }, mask, levels, width, lines) {
  const areas = new Uint32Array(count + 1);
  const queues = Array.from({ length: FULL + 1 }, () => []);
  let [id, height] = [0, 0]; // of the pixel whose neighbours are reached
  const reach = (pixel) => {
    if (!mask[pixel] || values[pixel]) return;
    if (!lines) values[pixel] = id;
    queues[Math.max(height, FULL - levels[pixel])].push(pixel, id);
  };
  let meets = false;
  const meet = (pixel) => (meets ||= values[pixel] > 0 && values[pixel] !== id);
  const seeds = values.slice();
  for (let pixel = 0; pixel < seeds.length; pixel++) {
    if (!seeds[pixel]) continue;
    id = seeds[pixel];
    areas[id]++;
    forNeighbours(pixel, width, values.length, reach);
  }
  for (height = 0; height <= FULL; height++) {
    const queue = queues[height];
    for (let at = 0; at < queue.length; at += 2) {
      const pixel = queue[at];
      id = queue[at + 1];
      if (lines) {
        if (values[pixel]) continue;
        meets = false;
        forNeighbours(pixel, width, values.length, meet);
        values[pixel] = meets ? LINE : id;
      }
      if (values[pixel] === id) areas[id]++;
      forNeighbours(pixel, width, values.length, reach);
    }
    queues[height] = [];
  }
  for (let pixel = 0; pixel < mask.length; pixel++) if (values[pixel]) mask[pixel] = 0;
  return areas.subarray(1);
}

function forNeighbours(pixel, width, length, visit) {
  const column = pixel % width;
  if (pixel >= width) visit(pixel - width);
  if (column > 0) visit(pixel - 1);
  if (column + 1 < width) visit(pixel + 1);
  if (pixel + width < length) visit(pixel + width);
}

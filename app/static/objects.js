// @ts-check
// Objects of a net of one class, by the rules of the weights file: those of model/outputs/objects.py.

import { areasOf } from "./regions.js";

const FULL = 255; // the level of probability 1.0
const LINE = -1;

/**
 * The areas in pixels of all objects; null if only the service finds them. `probabilities`: 65535 = 1.0, row by row;
 * pixels from `level` on are foreground. `rule`: `objects` and `min_area` as GET /model gives them.
 */
export function objectAreas(probabilities, width, level, rule) {
  if (!isCountedHere(rule)) return null;
  const mask = new Uint8Array(probabilities.length);
  for (let i = 0; i < mask.length; i++) mask[i] = probabilities[i] >= level ? 1 : 0;
  if (rule.objects === "regions") return areasOf(mask, width);
  const levels = new Uint8Array(probabilities.length);
  for (let i = 0; i < levels.length; i++) levels[i] = Math.round(probabilities[i] / 257); // 65535 / FULL
  const ids = labelled(mask, width);
  return ids.count ? grown(ids, levels, width) : new Uint32Array();
}

/** Whether `objectAreas` knows the rule. Regions split at their necks depend on how OpenCV blurs. */
export function isCountedHere(rule) {
  return rule.objects !== "seeds" && rule.min_area <= 1;
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
 * The areas of regions that grow by a watershed, over high levels first; of equal pixels the first to be reached is the
 * first to grow. A pixel where two regions meet belongs to neither.
 */
function grown({ values, count }, levels, width) {
  const areas = new Uint32Array(count + 1);
  const queues = Array.from({ length: FULL + 1 }, () => []);
  let [id, height, meets] = [0, 0, false]; // of the pixel whose neighbours are visited
  const reach = (pixel) => {
    if (!values[pixel]) queues[Math.max(height, FULL - levels[pixel])].push(pixel, id);
  };
  const meet = (pixel) => (meets ||= values[pixel] > 0 && values[pixel] !== id);
  for (let pixel = 0; pixel < values.length; pixel++) {
    if (!values[pixel]) continue;
    id = values[pixel];
    areas[id]++;
    forNeighbours(pixel, width, values.length, reach);
  }
  for (height = 0; height <= FULL; height++) {
    const queue = queues[height];
    for (let at = 0; at < queue.length; at += 2) {
      const pixel = queue[at];
      if (values[pixel]) continue;
      id = queue[at + 1];
      meets = false;
      forNeighbours(pixel, width, values.length, meet);
      values[pixel] = meets ? LINE : id;
      if (!meets) areas[id]++;
      forNeighbours(pixel, width, values.length, reach);
    }
    queues[height] = [];
  }
  return areas.subarray(1);
}

function forNeighbours(pixel, width, length, visit) {
  const column = pixel % width;
  if (pixel >= width) visit(pixel - width);
  if (column > 0) visit(pixel - 1);
  if (column + 1 < width) visit(pixel + 1);
  if (pixel + width < length) visit(pixel + width);
}

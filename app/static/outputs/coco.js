// @ts-check
// Objects as COCO annotations, as model/outputs/coco.py.

import { labelOf } from "./facts.js";
import { groupByObject, IntList } from "./int_list.js";

/**
 * The annotations of a page, without their ids, which count through all pages.
 *
 * @param {import("./facts.js").OutputPage} page
 */
export function annotationsOf({ index, width, height, labels, classes, shapes }) {
  const { left, top, boxWidth, boxHeight } = shapes;
  const runs = findRuns(labels, width, height);
  return Array.from(classes, (value, object) => ({
    image_id: index + 1,
    object_id: object + 1,
    category_id: value,
    segmentation: { size: [height, width], counts: encodeCounts(countsOf(runs, object, width * height)) },
    bbox: [left[object], top[object], boxWidth[object], boxHeight[object]],
    area: shapes.area[object],
    iscrowd: 0,
  }));
}

/**
 * @param {{ width: number, height: number, annotations: any[] }[]} pages
 * @param {import("./facts.js").Facts} facts
 */
export function joinAnnotations(pages, facts) {
  const images = pages.map(({ width, height }, page) => {
    const image = { id: page + 1, file_name: facts.name, height, width };
    return pages.length > 1 ? { ...image, page } : image;
  });
  const annotations = pages.flatMap((page) => page.annotations).map((each, number) => ({ id: number + 1, ...each }));
  const values = new Set([...Object.keys(facts.labels).map(Number), ...annotations.map((each) => each.category_id)]);
  const present = [...values].filter((value) => value > 0).sort((first, second) => first - second);
  const categories = present.map((value) => ({ id: value, name: labelOf(facts, value) }));
  return JSON.stringify({ images, categories, annotations });
}

/** Runs of equal ids, column by column: `starts` and `ends` in pixels, grouped by object. */
function findRuns({ ids, count }, width, height) {
  const [owners, starts, ends] = [new IntList(), new IntList(), new IntList()];
  let last = 0;
  for (let x = 0, at = 0; x < width; x++) {
    for (let i = x; i < ids.length; i += width, at++) {
      const id = ids[i];
      if (id === last) continue;
      if (last) ends.push(at);
      if (id) owners.push(id);
      if (id) starts.push(at);
      last = id;
    }
  }
  if (last) ends.push(width * height);
  return { starts: starts.numbers, ends: ends.numbers, ...groupByObject(owners.numbers, count) };
}

/** Lengths of the runs outside and inside of an object in turn. */
function countsOf({ starts, ends, order, bounds }, object, pixels) {
  const counts = [];
  let at = 0;
  for (let run = bounds[object]; run < bounds[object + 1]; run++) {
    counts.push(starts[order[run]] - at, ends[order[run]] - starts[order[run]]);
    at = ends[order[run]];
  }
  return [...counts, pixels - at];
}

/**
 * Compresses run lengths to a text, as `rleToString` of pycocotools: from the fourth on each length less the one two
 * before it, in groups of 5 bits, the lowest first.
 *
 * @param {number[]} counts
 */
export function encodeCounts(counts) {
  let text = "";
  for (let index = 0; index < counts.length; index++) {
    let rest = counts[index] - (index > 2 ? counts[index - 2] : 0);
    for (let isLast = false; !isLast; ) {
      const group = rest & 31;
      rest >>= 5;
      isLast = rest === (group & 16 ? -1 : 0);
      text += String.fromCharCode(48 + group + (isLast ? 0 : 32));
    }
  }
  return text;
}

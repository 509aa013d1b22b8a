// @ts-check
// The outline of an object along the edges of its pixels.

/**
 * Finds the edges between an object and all else. Edges in one line are one segment.
 *
 * @param {ArrayLike<number>} ids one a pixel, row by row
 * @param {number} width
 * @param {number} id
 * @param {{ left: number, top: number, width: number, height: number }} box around the object, pixels
 * @returns {number[][]} segments `[x0, y0, x1, y1]`
 */
export function outlineOf(ids, width, id, box) {
  const height = ids.length / width;
  const has = (x, y) => x >= 0 && y >= 0 && x < width && y < height && ids[y * width + x] === id;
  const right = box.left + box.width;
  const bottom = box.top + box.height;
  const segments = [];
  for (let y = box.top; y <= bottom; y++) {
    const isEdge = (x) => has(x, y) !== has(x, y - 1);
    for (const [start, end] of runs(box.left, right, isEdge)) segments.push([start, y, end, y]);
  }
  for (let x = box.left; x <= right; x++) {
    const isEdge = (y) => has(x, y) !== has(x - 1, y);
    for (const [start, end] of runs(box.top, bottom, isEdge)) segments.push([x, start, x, end]);
  }
  return segments;
}

/** The runs `[start, end]` of whole numbers, `end` being past the last one, that have the property. */
function runs(first, end, hasProperty) {
  const found = [];
  for (let at = first; at < end; at++) {
    if (!hasProperty(at)) continue;
    const start = at;
    while (at < end && hasProperty(at)) at++;
    found.push([start, at]);
  }
  return found;
}

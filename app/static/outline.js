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
  const right = Math.min(width, box.left + box.width);
  const bottom = Math.min(ids.length / width, box.top + box.height);
  const segments = [];
  const tops = new Int32Array(right + 1).fill(-1); // where a run of edges in a column began; -1: none is open
  for (let y = box.top; y <= bottom; y++) {
    let left = -1; // where a run of edges in this row began
    let wasInside = false;
    for (let x = box.left, at = y * width + x; x <= right; x++, at++) {
      const isInside = x < right && y < bottom && ids[at] === id;
      const isEdge = isInside !== (x < right && y > box.top && ids[at - width] === id);
      if (isEdge && left < 0) left = x;
      if (!isEdge && left >= 0) {
        segments.push([left, y, x, y]);
        left = -1;
      }
      const isSide = isInside !== wasInside;
      if (isSide && tops[x] < 0) tops[x] = y;
      if (!isSide && tops[x] >= 0) {
        segments.push([x, tops[x], x, y]);
        tops[x] = -1;
      }
      wasInside = isInside;
    }
  }
  return segments;
}

// @ts-check
// Pixels of strokes and of connected regions, as spans: the indices from `start` to before `end`, in one row.

/**
 * Calls `put` for the pixels whose centres are no farther than `radius` from the line between two points.
 *
 * @param {{ from: Point, to: Point, radius: number, width: number, height: number }} stroke in pixels of the image
 * @param {(start: number, end: number) => void} put called for each row
 *
 * @typedef {{ x: number, y: number }} Point
 */
export function strokeSpans({ from, to, radius, width, height }, put) {
  const first = Math.max(0, Math.ceil(Math.min(from.y, to.y) - radius - 0.5));
  const last = Math.min(height - 1, Math.floor(Math.max(from.y, to.y) + radius - 0.5));
  const corners = cornersOf(from, to, radius);
  for (let row = first; row <= last; row++) {
    const y = row + 0.5;
    const ends = [...circleEnds(from, radius, y), ...circleEnds(to, radius, y), ...polygonEnds(corners, y)];
    if (!ends.length) continue;
    const left = Math.max(0, Math.ceil(Math.min(...ends) - 0.5));
    const right = Math.min(width - 1, Math.floor(Math.max(...ends) - 0.5));
    if (left <= right) put(row * width + left, row * width + right + 1);
  }
}

/** The corners of the rectangle around a line, `radius` to each side; none if the line is a point. */
function cornersOf(from, to, radius) {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  if (!length) return [];
  const [dx, dy] = [((from.y - to.y) / length) * radius, ((to.x - from.x) / length) * radius];
  return [[from, 1], [to, 1], [to, -1], [from, -1]].map(([point, side]) => ({ x: point.x + side * dx, y: point.y + side * dy }));
}

/** Where a circle begins and ends at a height; empty if it does not reach it. */
function circleEnds(centre, radius, y) {
  const square = radius ** 2 - (y - centre.y) ** 2;
  return square < 0 ? [] : [centre.x - Math.sqrt(square), centre.x + Math.sqrt(square)];
}

/** Where the sides of a polygon cross a height. */
function polygonEnds(corners, y) {
  return corners.flatMap((start, index) => {
    const end = corners[(index + 1) % corners.length];
    if (start.y === end.y || y < Math.min(start.y, end.y) || y > Math.max(start.y, end.y)) return [];
    return [start.x + ((y - start.y) / (end.y - start.y)) * (end.x - start.x)];
  });
}

/**
 * Calls `put` for the 4-connected pixels of equal value around a pixel. `put` must give them another value, so that none
 * is met twice.
 *
 * @param {ArrayLike<number>} values one a pixel, row by row
 * @param {number} width
 * @param {number} seed index of a pixel
 * @param {(start: number, end: number) => void} put
 */
export function regionSpans(values, width, seed, put) {
  const value = values[seed];
  const seeds = [seed];
  while (seeds.length) {
    const at = seeds.pop();
    if (values[at] !== value) continue;
    const rowStart = at - (at % width);
    let [start, end] = [at, at + 1];
    while (start > rowStart && values[start - 1] === value) start--;
    while (end < rowStart + width && values[end] === value) end++;
    put(start, end);
    for (const step of [-width, width]) seeds.push(...runStarts(values, value, start + step, end + step));
  }
}

/** The first pixel of each run of a value between two indices of a row; none if the row is outside of the image. */
function runStarts(values, value, start, end) {
  const found = [];
  if (start < 0 || end > values.length) return found;
  for (let at = start; at < end; at++) if (values[at] === value && (at === start || values[at - 1] !== value)) found.push(at);
  return found;
}

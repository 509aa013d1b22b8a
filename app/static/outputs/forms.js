// @ts-check
// Forms of objects by the definitions of scikit-image 0.26: each function names the one that it follows.

/**
 * Second central moments divided by the area, in square pixels.
 *
 * @typedef {object} Moments
 * @property {Float64Array} xx
 * @property {Float64Array} yy
 * @property {Float64Array} xy
 */

/**
 * Measures second moments (`skimage.measure.moments_central`), from whole numbers about a pixel near the centroid, so that
 * symmetric objects have exactly symmetric moments.
 *
 * @param {import("../regions.js").Labels} labels
 * @param {number} width
 * @param {import("../measurements.js").Shapes} shapes
 * @returns {Moments}
 */
export function measureMoments({ ids, count }, width, { area, x, y }) {
  const [centreX, centreY] = [Int32Array.from(x, Math.floor), Int32Array.from(y, Math.floor)];
  const [sumX, sumY, xx, yy, xy] = Array.from({ length: 5 }, () => new Float64Array(count));
  for (let i = 0, column = 0, row = 0; i < ids.length; i++, column++) {
    if (column === width) [column, row] = [0, row + 1];
    const object = ids[i] - 1;
    if (object < 0) continue;
    const [dx, dy] = [column - centreX[object], row - centreY[object]];
    sumX[object] += dx;
    sumY[object] += dy;
    xx[object] += dx * dx;
    yy[object] += dy * dy;
    xy[object] += dx * dy;
  }
  const central = (products, first, second) =>
    products.map((sum, object) => (area[object] * sum - first[object] * second[object]) / area[object] ** 2);
  return { xx: central(xx, sumX, sumX), yy: central(yy, sumY, sumY), xy: central(xy, sumX, sumY) };
}

/**
 * Axes of the ellipse with the same moments, its eccentricity, and its orientation (`axis_major_length`,
 * `axis_minor_length`, `eccentricity` and `orientation` of `regionprops`). The orientation is in degrees, 0 to 180,
 * counterclockwise from the axis to the right, as in the service's table.
 *
 * scikit-image rounds differently in two cases: the minor axis of a straight line, which is 0 here, may be 1e-7 there, and
 * the orientation of an object without a longer axis is any angle there, if its moments differ in their last bit.
 *
 * @param {Moments} moments
 * @param {number} [scaleX] width of a pixel
 * @param {number} [scaleY] height of a pixel
 */
export function measureEllipses({ xx, yy, xy }, scaleX = 1, scaleY = 1) {
  const count = xx.length;
  const [major, minor, eccentricity, orientation] = Array.from({ length: 4 }, () => new Float64Array(count));
  for (let object = 0; object < count; object++) {
    const a = xx[object] * scaleX ** 2;
    const b = -xy[object] * scaleX * scaleY;
    const c = yy[object] * scaleY ** 2;
    const spread = Math.hypot(2 * b, a - c);
    const [larger, smaller] = [(a + c + spread) / 2, Math.max(0, (a + c - spread) / 2)];
    major[object] = 4 * Math.sqrt(larger);
    minor[object] = 4 * Math.sqrt(smaller);
    eccentricity[object] = larger === 0 ? 0 : Math.sqrt(1 - smaller / larger);
    const angle = a === c ? (b < 0 ? 45 : -45) : (90 / Math.PI) * Math.atan2(-2 * b, c - a);
    orientation[object] = (90 + angle) % 180;
  }
  return { major, minor, eccentricity, orientation };
}

// Weights of border pixels by the border pixels around them: 1 for itself, 2 for each across an edge, 10 for each across a
// corner. From `skimage.measure.perimeter`; all others weigh nothing.
const STRAIGHT = new Set([5, 7, 15, 17, 25, 27]);
const DIAGONAL = new Set([21, 33]);
const BENT = new Set([13, 23]);

/**
 * Perimeters in pixels (`skimage.measure.perimeter` with a neighbourhood of 4).
 *
 * @param {import("../regions.js").Labels} labels
 * @param {number} width
 */
export function measurePerimeters({ ids, count }, width) {
  const border = bordersOf(ids, width);
  const [straight, diagonal, bent] = Array.from({ length: 3 }, () => new Uint32Array(count));
  for (let i = 0, x = 0; i < ids.length; i++, x = x + 1 === width ? 0 : x + 1) {
    if (!border[i]) continue;
    const [id, hasLeft, hasRight] = [ids[i], x > 0, x + 1 < width];
    const at = (pixel) => (border[pixel] && ids[pixel] === id ? 1 : 0); // undefined beyond the first and last row
    let sum = 1 + 2 * (at(i - width) + at(i + width));
    if (hasLeft) sum += 2 * at(i - 1) + 10 * (at(i - width - 1) + at(i + width - 1));
    if (hasRight) sum += 2 * at(i + 1) + 10 * (at(i - width + 1) + at(i + width + 1));
    if (STRAIGHT.has(sum)) straight[id - 1]++;
    else if (DIAGONAL.has(sum)) diagonal[id - 1]++;
    else if (BENT.has(sum)) bent[id - 1]++;
  }
  const lengthOf = (pixels, object) => pixels + diagonal[object] * Math.SQRT2 + (bent[object] * (1 + Math.SQRT2)) / 2;
  return Float64Array.from(straight, lengthOf);
}

/** 1 for pixels of objects that have something else across an edge, or the image's border. */
function bordersOf(ids, width) {
  const border = new Uint8Array(ids.length);
  for (let i = 0, x = 0; i < ids.length; i++, x = x + 1 === width ? 0 : x + 1) {
    const id = ids[i];
    if (!id) continue;
    const isInside =
      x > 0 && x + 1 < width && ids[i - 1] === id && ids[i + 1] === id && ids[i - width] === id && ids[i + width] === id;
    border[i] = isInside ? 0 : 1;
  }
  return border;
}

/**
 * Euler numbers: 8-connected parts less their holes (`skimage.measure.euler_number` with connectivity 2), from the corners
 * of pixels.
 *
 * @param {import("../regions.js").Labels} labels
 * @param {number} width
 * @returns {Int32Array}
 */
export function countEuler({ ids, count }, width) {
  const euler = new Int32Array(count + 1); // that of the background is not used
  const height = ids.length / width;
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      const [hasLeft, hasRight, hasAbove, hasBelow] = [x > 0, x < width, y > 0, y < height];
      const i = y * width + x;
      const northWest = hasAbove && hasLeft ? ids[i - width - 1] : 0;
      const northEast = hasAbove && hasRight ? ids[i - width] : 0;
      const southWest = hasBelow && hasLeft ? ids[i - 1] : 0;
      const southEast = hasBelow && hasRight ? ids[i] : 0;
      if (northWest !== southEast) {
        if (northWest !== northEast && northWest !== southWest) euler[northWest]++;
        else if (northWest === northEast && northWest === southWest) euler[northWest]--;
      }
      if (northEast === southWest && northEast !== northWest && northEast !== southEast) euler[northEast]--;
    }
  }
  return euler.subarray(1);
}

/**
 * Pixels of the convex hulls (`area_convex` of `regionprops`): those whose centre is in the hull of the middles of the edges
 * of the object's pixels, or on its border. Equal, because all corners are halves, which floating point holds exactly.
 *
 * @param {import("../regions.js").Labels} labels
 * @param {number} width
 * @param {import("../measurements.js").Shapes} shapes
 */
export function countConvex(labels, width, shapes) {
  const { first, leftmost, rightmost } = findEnds(labels, width, shapes);
  return shapes.area.map((_, object) => {
    const [start, end] = [first[object], first[object + 1]];
    const left = hullOf(leftmost.subarray(start, end));
    const right = hullOf(rightmost.subarray(start, end).map((x) => -x)); // mirrored
    let pixels = 0;
    for (let row = 0; row < end - start; row++) {
      pixels += 1 + Math.floor(-left.at(row)) + Math.floor(-right.at(row));
    }
    return pixels;
  });
}

/** The first and last column of each object in each row of its box; those of an object are from `first[object]` on. */
function findEnds({ ids, count }, width, { top, boxHeight }) {
  const first = new Int32Array(count + 1);
  for (let object = 0; object < count; object++) first[object + 1] = first[object] + boxHeight[object];
  const leftmost = new Int32Array(first[count]).fill(-1);
  const rightmost = new Int32Array(first[count]);
  for (let i = 0, x = 0, y = 0; i < ids.length; i++, x++) {
    if (x === width) [x, y] = [0, y + 1];
    const object = ids[i] - 1;
    if (object < 0) continue;
    const at = first[object] + y - top[object];
    if (leftmost[at] < 0) leftmost[at] = x;
    rightmost[at] = x;
  }
  return { first, leftmost, rightmost };
}

/**
 * The left side of a convex hull, from the first column in each row; `at(row)` is its x.
 *
 * All numbers are doubled, so that they are whole: a pixel in column x reaches 2x - 1 at its middle, row 2y, and 2x above
 * and below, in rows 2y - 1 and 2y + 1.
 */
function hullOf(columns) {
  const [xs, ys] = [[], []];
  const add = (x, y) => {
    const turnsIn = () => {
      const [a, b] = [xs.length - 2, xs.length - 1];
      return (xs[b] - xs[a]) * (y - ys[a]) >= (x - xs[a]) * (ys[b] - ys[a]);
    };
    while (xs.length > 1 && turnsIn()) {
      xs.pop();
      ys.pop();
    }
    xs.push(x);
    ys.push(y);
  };
  columns.forEach((x, row) => {
    add(row ? 2 * Math.min(x, columns[row - 1]) : 2 * x, 2 * row - 1);
    add(2 * x - 1, 2 * row);
  });
  add(2 * columns[columns.length - 1], 2 * columns.length - 1);
  let side = 0;
  const at = (row) => {
    while (ys[side + 1] < 2 * row) side++;
    const [run, rise] = [xs[side + 1] - xs[side], ys[side + 1] - ys[side]];
    return (xs[side] * rise + run * (2 * row - ys[side])) / (2 * rise);
  };
  return { at };
}

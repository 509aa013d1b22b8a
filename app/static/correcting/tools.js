// @ts-check
// The tools that correct a mask. Each edit begins with a press, may go on with moves, and ends with a release.

import { regionSpans, strokeSpans } from "./spans.js";

/**
 * @typedef {import("./corrected_page.js").CorrectedPage} CorrectedPage
 * @typedef {import("./spans.js").Point} Point
 * @typedef {"brush" | "eraser" | "fill" | "split" | "merge" | "delete"} Tool
 *
 * @typedef {object} Stroke
 * @property {CorrectedPage} page
 * @property {number} size diameter in pixels of the image, odd
 * @property {number} classValue what the brush paints in a mask of classes
 * @property {Point} last the centre of the pixel where it is
 * @property {number} value what it paints
 * @property {number} below the value that the pixel at `last` had before the edit
 * @property {Set<number> | null} filled pixels that it painted, if it paints the background only; otherwise null
 */

/** Sizes at first; tools that act on what is clicked have none. */
export const SIZES = { brush: 11, eraser: 11, split: 3, merge: 5 };

/** What each tool does, in words for the person. */
export const HINTS = {
  select: "A click selects an object, the key Delete deletes it. Dragging moves the image.",
  brush: "Paints. In an object, the brush makes that object larger.",
  eraser: "Removes from the mask.",
  fill: "A click in a hole fills it.",
  split: "Draw a line across an object to split it.",
  merge: "Draw from one object into another to merge both.",
  delete: "A click on an object deletes it.",
};

/** What keeps a tool from acting, in words for the person. */
export class ToolProblem extends Error {}

const BEGIN = {
  brush: (stroke) => drawAs(stroke, brushValue(stroke)),
  eraser: (stroke) => drawAs(stroke, 0),
  split: (stroke) => drawAs(stroke, 0),
  merge: (stroke) => {
    if (!stroke.below) throw new ToolProblem("Begin in one object, and end in the other.");
    stroke.filled = new Set();
    drawAs(stroke, stroke.below);
  },
  fill: (stroke) => fillHole(stroke),
  delete: ({ page, last, below }) => {
    if (!below) throw new ToolProblem("There is no object here.");
    replaceRegion(page, indexOf(page, last), 0);
  },
};

export class Edit {
  /** @type {Stroke} */
  #stroke;

  /**
   * Begins an edit. Throws ToolProblem, and leaves the page as it is.
   *
   * @param {Tool} tool
   * @param {CorrectedPage} page
   * @param {Point} point in the image
   * @param {{ size: number, classValue: number }} options
   */
  constructor(tool, page, point, { size, classValue }) {
    this.tool = tool;
    const first = centreOf(point);
    this.#stroke = { page, size, classValue, last: first, value: 0, below: valueAt(page, first), filled: null };
    page.begin();
    this.#tryTo(() => BEGIN[tool](this.#stroke));
  }

  /**
   * Goes on to a point, which may be outside of the image.
   *
   * @param {Point} point
   */
  move(point) {
    if (!(this.tool in SIZES)) return;
    const stroke = this.#stroke;
    const from = stroke.last;
    stroke.last = centreOf(point);
    stroke.below = stroke.filled?.has(indexOf(stroke.page, stroke.last)) ? 0 : valueAt(stroke.page, stroke.last);
    draw(stroke, from);
  }

  /** Ends the edit. Throws ToolProblem, and leaves the page as it was. */
  end() {
    if (this.tool === "merge") this.#tryTo(() => joinEnd(this.#stroke));
    this.#stroke.page.commit();
  }

  cancel() {
    this.#stroke.page.cancel();
  }

  #tryTo(act) {
    try {
      act();
    } catch (problem) {
      this.cancel();
      throw problem;
    }
  }
}

/**
 * Deletes the region of equal value with a pixel, as an edit of its own.
 *
 * @param {CorrectedPage} page
 * @param {number} index of a pixel that is not background
 */
export function deleteRegion(page, index) {
  page.begin();
  replaceRegion(page, index, 0);
  page.commit();
}

function drawAs(stroke, value) {
  stroke.value = value;
  draw(stroke, stroke.last);
}

function draw({ page, size, value, last, filled }, from) {
  const { width, height } = page;
  strokeSpans({ from, to: last, radius: size / 2, width, height }, (start, end) => {
    if (filled) putOnBackground(page, start, end, value, filled);
    else page.put(start, end, value);
  });
}

function putOnBackground(page, start, end, value, filled) {
  for (let at = start; at < end; at++) {
    if (page.values[at]) continue;
    filled.add(at);
    page.put(at, at + 1, value);
  }
}

/** The brush goes on with the object where it begins, or makes a new one. */
function brushValue({ page, classValue, below }) {
  if (page.kind === "mask") return 1;
  if (page.kind === "classes") return classValue;
  return below || largestOf(page.values) + 1;
}

/** Gives the object at the end of a stroke the value of the one where it began. */
function joinEnd({ page, value, last, below }) {
  if (!below) throw new ToolProblem("Begin in one object, and end in the other.");
  if (below === value) return;
  if (page.kind === "classes") throw new ToolProblem("The objects have different classes.");
  replaceRegion(page, indexOf(page, last), value);
}

/** Fills the background around a pixel that an object surrounds. */
function fillHole({ page, last, below }) {
  if (below || indexOf(page, last) < 0) throw new ToolProblem("Click in a hole: a part of the background.");
  const { width, height, values } = page;
  const spans = [];
  let isInside = true;
  const seed = indexOf(page, last);
  const filled = values.slice();
  regionSpans(filled, width, seed, (start, end) => {
    const [row, column] = [Math.floor(start / width), start % width];
    isInside &&= row > 0 && row < height - 1 && column > 0 && column + end - start < width;
    spans.push([start, end]);
    filled.fill(1, start, end);
  });
  if (!isInside) throw new ToolProblem("This is not a hole: it reaches the border of the image.");
  const value = values[spans[0][0] - 1]; // the object beside it
  for (const [start, end] of spans) page.put(start, end, value);
}

function replaceRegion(page, index, value) {
  regionSpans(page.values, page.width, index, (start, end) => page.put(start, end, value));
}

function largestOf(values) {
  let largest = 0;
  for (const value of values) if (value > largest) largest = value;
  return largest;
}

/** Strokes go from centre to centre, so that a brush of one pixel paints one pixel. */
function centreOf({ x, y }) {
  return { x: Math.floor(x) + 0.5, y: Math.floor(y) + 0.5 };
}

/** The index of the pixel at a point; -1 outside of the image. */
function indexOf({ width, height }, { x, y }) {
  return x >= 0 && y >= 0 && x < width && y < height ? Math.floor(y) * width + Math.floor(x) : -1;
}

function valueAt(page, point) {
  return page.values[indexOf(page, point)] ?? 0;
}

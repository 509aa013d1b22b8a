// @ts-check
// Outlines of objects along the edges of pixels, as model/outputs/outlines.py gives them.

import { findRegions } from "../regions.js";
import { groupByObject, IntList } from "./int_list.js";

const [EAST, SOUTH] = [0, 1]; // WEST is 2, NORTH is 3
const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];

/**
 * Corners x, y, x, y, ... of a ring, each once, in pixels from the image's top left corner.
 *
 * @typedef {Int32Array} Ring
 *
 * @typedef {object} Outlines of all objects
 * @property {(object: number) => Ring[][]} of gives polygons of an object by its index, from 0: one for each of its
 *   4-connected parts; in each the outer ring is the first, those of holes follow
 */

/**
 * Outlines objects. Most of them are one part; the lines between objects that grew can cut off some pixels, which are other
 * parts.
 *
 * @param {import("../regions.js").Labels} labels
 * @param {number} width
 * @returns {Outlines}
 */
export function outlineObjects({ ids, count }, width) {
  const parts = findRegions(ids, width); // numbered by their objects, those of one object by their first pixel
  const owners = new Int32Array(parts.count);
  for (let i = 0; i < ids.length; i++) if (ids[i]) owners[parts.ids[i] - 1] = ids[i];
  const rings = traceRings(parts, width);
  const { order, bounds } = groupByObject(owners, count);
  return { of: (object) => Array.from(order.subarray(bounds[object], bounds[object + 1]), rings.of) };
}

/**
 * Traces the outlines of 4-connected parts. Order and start of rings are those of GDAL's polygonize: the part is on the
 * left, the outer ring starts at its first pixel and goes down, a hole's ring starts at the hole's first pixel and goes
 * right. Rings touch at corners and never cross: a hole that meets another one at a corner keeps a ring of its own.
 *
 * @param {import("../regions.js").Labels} parts
 * @param {number} width
 * @returns {{ of: (part: number) => Ring[] }}
 */
function traceRings({ ids, count }, width) {
  const tracer = new Tracer(ids, width);
  const isTraced = new Uint8Array(count + 1);
  for (let i = 0, x = 0, y = 0; i < ids.length; i++, x++) {
    if (x === width) [x, y] = [0, y + 1];
    const above = y > 0 ? ids[i - width] : 0;
    if (above && above !== ids[i] && !tracer.hasPassed[i - width]) tracer.trace(above, x, y, EAST);
    if (!ids[i] || isTraced[ids[i]]) continue;
    isTraced[ids[i]] = 1;
    tracer.trace(ids[i], x, y, SOUTH);
  }
  return tracer.collect(count);
}

class Tracer {
  #corners = new IntList();
  #starts = new IntList();
  #owners = new IntList();

  constructor(ids, width) {
    this.ids = ids;
    this.width = width;
    this.height = ids.length / width;
    this.hasPassed = new Uint8Array(ids.length); // 1 for a pixel whose lower edge is in a ring of its part
  }

  /** Follows one ring of a part from a corner. */
  trace(id, startX, startY, startHeading) {
    this.#starts.push(this.#corners.length);
    this.#owners.push(id);
    let [x, y, heading, isBack] = [startX, startY, startHeading, false];
    this.#addCorner(x, y);
    while (!isBack) {
      if (heading === EAST) this.hasPassed[(y - 1) * this.width + x] = 1;
      x += STEP_X[heading];
      y += STEP_Y[heading];
      const next = this.#turn(id, x, y, heading);
      isBack = x === startX && y === startY && next === startHeading;
      if (next !== heading && !isBack) this.#addCorner(x, y);
      heading = next;
    }
  }

  /** The heading after a corner of pixels: right around what is not the part, else straight on, else left. */
  #turn(id, x, y, heading) {
    if (this.#has(id, x, y, (heading + 1) % 4)) return (heading + 1) % 4;
    return this.#has(id, x, y, heading) ? heading : (heading + 3) % 4;
  }

  /** True if the part has the pixel at a corner: 0 is that to the north-east, then clockwise. */
  #has(id, cornerX, cornerY, place) {
    const x = place < 2 ? cornerX : cornerX - 1;
    const y = place === 1 || place === 2 ? cornerY : cornerY - 1;
    return x >= 0 && y >= 0 && x < this.width && y < this.height && this.ids[y * this.width + x] === id;
  }

  #addCorner(x, y) {
    this.#corners.push(x);
    this.#corners.push(y);
  }

  collect(count) {
    const [corners, starts] = [this.#corners.numbers, this.#starts.numbers];
    const { order, bounds } = groupByObject(this.#owners.numbers, count);
    const ring = (index) => corners.subarray(starts[index], starts[index + 1] ?? corners.length);
    return { of: (part) => Array.from(order.subarray(bounds[part], bounds[part + 1]), ring) };
  }
}

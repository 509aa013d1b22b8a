// @ts-check
// Objects as regions of interest (ROIs) of ImageJ, as model/outputs/rois.py: a ZIP file for its ROI Manager.
// The format of a ROI is that of ImageJ's RoiDecoder.java, version 229.

import { strToU8, zipSync } from "../vendor/fflate/browser.js";
import { checkCount, colourOfClass, labelOf } from "./facts.js";
import { outlineObjects } from "./rings.js";

const VERSION = 229;
const [RECTANGLE, TRACED] = [1, 8]; // types; a composite ROI is a rectangle with a path
const SUB_PIXEL = 128; // option: corners are also stored in floating point
const [MOVE, LINE, CLOSE] = [0, 1, 4]; // steps of a path
const LARGEST_CORNER = 2 ** 15 - 1; // that 16 bits hold
const MOST_CORNERS = 2 ** 16 - 1;
const HEADER = 64; // bytes of each of the two headers
const DATE = new Date(1980, 0, 1); // of the entries, so that equal objects give equal files

/**
 * The ROIs of a page: names of entries, and their bytes.
 *
 * @param {import("./facts.js").OutputPage} page
 * @param {import("./facts.js").Facts} facts
 * @returns {[string, Uint8Array][]}
 */
export function roisOf({ index, width, labels, classes }, facts) {
  checkCount(labels.count);
  const outlines = outlineObjects(labels, width);
  const prefix = facts.pages > 1 ? `${digits(index + 1, 4)}-` : "";
  const position = facts.pages > 1 ? positionOf(index, facts) : {};
  return Array.from(classes, (value, object) => {
    const number = digits(object + 1, 5);
    const name = `${prefix}${labelOf(facts, value)}-${number}`;
    const roi = encodeRoi(outlines.of(object).flat(), { name, colour: colourOfClass(value), ...position });
    return [`${prefix}${digits(value, 3)}-${number}.roi`, roi];
  });
}

/** @param {[string, Uint8Array][][]} pages */
export function joinRois(pages) {
  checkCount(pages.reduce((sum, rois) => sum + rois.length, 0));
  return zipSync(Object.fromEntries(pages.flat()), { mtime: DATE });
}

/**
 * Where ImageJ shows a page, counted from 1: a slice of a stack, or a place in a hyperstack.
 *
 * @returns {{ slice?: number, place?: number[] }} `place` is channel, section and time
 */
function positionOf(index, { channel, hasChannels, places }) {
  const isOneAxis = ["z", "t"].some((axis) => new Set(places.map((place) => place[axis])).size === 1);
  if (!places.length || (!hasChannels && isOneAxis)) return { slice: index + 1 };
  return { place: [(channel ?? 0) + 1, places[index].z + 1, places[index].t + 1] };
}

/**
 * Encodes an object as a ROI: a traced outline, or a composite of all its rings if it has holes or is in parts.
 *
 * @param {Int32Array[]} rings
 * @param {{ name: string, colour: number[], slice?: number, place?: number[] }} properties
 */
export function encodeRoi(rings, { name, colour, slice = 0, place = [0, 0, 0] }) {
  const box = boxOf(rings);
  const isComposite = rings.length > 1;
  const isLarge = !isComposite && Math.max(box.right, box.bottom) > LARGEST_CORNER;
  const extra = isComposite ? floats(pathOf(rings)) : cornersOf(rings[0], box, isLarge);
  const corners = isComposite ? 0 : rings[0].length / 2;
  const roi = new Uint8Array(2 * HEADER + extra.length + 2 * name.length);
  const view = new DataView(roi.buffer);
  roi.set(strToU8("Iout"));
  view.setInt16(4, VERSION);
  view.setUint8(6, isComposite ? RECTANGLE : TRACED);
  [box.top, box.left, box.bottom, box.right].forEach((edge, index) => view.setInt16(8 + 2 * index, edge));
  if (corners > MOST_CORNERS) view.setInt32(18, corners);
  else view.setUint16(16, corners);
  if (isComposite) view.setInt32(36, extra.length / 4);
  roi.set([255, ...colour], 40); // of the stroke: opacity, red, green, blue
  if (isLarge) view.setInt16(50, SUB_PIXEL);
  view.setInt32(56, slice);
  view.setInt32(60, HEADER + extra.length);
  roi.set(extra, HEADER);
  writeSecondHeader(view, HEADER + extra.length, name, place);
  return roi;
}

function writeSecondHeader(view, at, name, place) {
  place.forEach((number, axis) => view.setInt32(at + 4 + 4 * axis, number));
  view.setInt32(at + 16, at + HEADER);
  view.setInt32(at + 20, name.length);
  for (let i = 0; i < name.length; i++) view.setUint16(at + HEADER + 2 * i, name.charCodeAt(i));
}

function boxOf(rings) {
  const box = { left: Infinity, top: Infinity, right: 0, bottom: 0 };
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) {
      box.left = Math.min(box.left, ring[i]);
      box.right = Math.max(box.right, ring[i]);
      box.top = Math.min(box.top, ring[i + 1]);
      box.bottom = Math.max(box.bottom, ring[i + 1]);
    }
  }
  return box;
}

/** All x from the box's left edge, then all y from its top, in 16 bits; in large images also in floating point. */
function cornersOf(ring, { left, top }, isLarge) {
  const count = ring.length / 2;
  const bytes = new Uint8Array(ring.length * (isLarge ? 6 : 2));
  const view = new DataView(bytes.buffer);
  for (let corner = 0; corner < count; corner++) {
    const [x, y] = [ring[2 * corner], ring[2 * corner + 1]];
    view.setInt16(2 * corner, x - left);
    view.setInt16(2 * (count + corner), y - top);
    if (!isLarge) continue;
    view.setFloat32(4 * count + 4 * corner, x);
    view.setFloat32(4 * count + 4 * (count + corner), y);
  }
  return bytes;
}

/** The rings as ImageJ stores them: a code for each step, and where it leads. */
function pathOf(rings) {
  const path = [];
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) path.push(i ? LINE : MOVE, ring[i], ring[i + 1]);
    path.push(CLOSE);
  }
  return path;
}

function floats(numbers) {
  const view = new DataView(new ArrayBuffer(4 * numbers.length));
  numbers.forEach((number, index) => view.setFloat32(4 * index, number));
  return new Uint8Array(view.buffer);
}

function digits(number, count) {
  return String(number).padStart(count, "0");
}

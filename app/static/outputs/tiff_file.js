// @ts-check
// TIFF files of several pages (TIFF 6.0, little-endian, one strip a page), with ImageJ's notes on axes and calibration.

import { strToU8 } from "../vendor/fflate/browser.js";

const [ASCII, SHORT, LONG, RATIONAL] = [2, 3, 4, 5]; // types of tags
const BYTES = { [ASCII]: 1, [SHORT]: 2, [LONG]: 4, [RATIONAL]: 8 };
const DEFLATE = 8;
const NO_UNIT = 1; // of the resolution: ImageJ's description names the unit
const LARGEST = 2 ** 32 - 1;

/**
 * @param {import("./picture_file.js").PackedPage[]} pages
 * @param {import("./facts.js").Facts} facts
 */
export function joinTiff(pages, facts) {
  const text = describe(facts);
  const parts = [Uint8Array.of(0x49, 0x49, 42, 0, 0, 0, 0, 0)];
  let [at, link] = [8, { view: viewOf(parts[0]), offset: 4 }]; // where the address of the next directory belongs
  const append = (bytes) => {
    const start = at;
    parts.push(bytes, new Uint8Array(bytes.length % 2)); // addresses are even
    at += bytes.length + (bytes.length % 2);
    return start;
  };
  pages.forEach((page, index) => {
    const tags = tagsOf(page, append(page.packed), index ? "" : text, facts.pixelSize);
    const directory = directoryOf(tags, append);
    link.view.setUint32(link.offset, append(directory), true);
    link = { view: viewOf(directory), offset: directory.length - 4 };
  });
  return concatenate(parts);
}

/** `[tag, type, values]` in the order of the tags. */
function tagsOf({ width, height, channels, depth, packed }, strip, text, pixelSize) {
  const { x, y } = pixelSize ?? { x: 1, y: 1 };
  return [
    [256, LONG, [width]],
    [257, LONG, [height]],
    [258, SHORT, new Array(channels).fill(depth)],
    [259, SHORT, [DEFLATE]],
    [262, SHORT, [channels === 3 ? 2 : 1]], // RGB, or grey from black to white
    ...(text ? [[270, ASCII, [...strToU8(`${text}\0`)]]] : []),
    [273, LONG, [strip]],
    [277, SHORT, [channels]],
    [278, LONG, [height]],
    [279, LONG, [packed.length]],
    [282, RATIONAL, ratioOf(1 / x)],
    [283, RATIONAL, ratioOf(1 / y)],
    [296, SHORT, [NO_UNIT]],
  ];
}

/** The bytes of a directory, with room for the address of the next one; `append` stores what is longer than 4 bytes. */
function directoryOf(tags, append) {
  const directory = new Uint8Array(2 + 12 * tags.length + 4);
  const view = viewOf(directory);
  view.setUint16(0, tags.length, true);
  tags.forEach(([tag, type, values], index) => {
    const entry = 2 + 12 * index;
    const bytes = bytesOf(type, values);
    view.setUint16(entry, tag, true);
    view.setUint16(entry + 2, type, true);
    view.setUint32(entry + 4, type === RATIONAL ? values.length / 2 : values.length, true);
    if (bytes.length <= 4) directory.set(bytes, entry + 8);
    else view.setUint32(entry + 8, append(bytes), true);
  });
  return directory;
}

function bytesOf(type, values) {
  const size = type === RATIONAL ? 4 : BYTES[type];
  const bytes = new Uint8Array(size * values.length);
  const view = viewOf(bytes);
  values.forEach((value, index) => {
    if (size === 1) view.setUint8(index, value);
    else if (size === 2) view.setUint16(2 * index, value, true);
    else view.setUint32(4 * index, value, true);
  });
  return bytes;
}

/** A positive number as numerator and denominator, the larger of which uses all 32 bits. */
function ratioOf(value) {
  const larger = Math.max(value, 1);
  const denominator = Math.max(1, Math.floor(LARGEST / larger));
  if (value >= 1) return [Math.min(LARGEST, Math.round(value * denominator)), denominator];
  return [Math.max(1, Math.round(LARGEST * value)), LARGEST];
}

/** The text that ImageJ reads from the first page, as `_imagej_description` of the service; "" if there is nothing to say. */
function describe({ pixelSize, places }) {
  const [times, sections] = ["t", "z"].map((axis) => new Set(places.map((place) => place[axis])).size);
  const isOrdered = places.every((place, index) => !index || follows(place, places[index - 1]));
  const isStack = places.length > 1 && isOrdered && times * sections === places.length;
  if (!pixelSize && !(isStack && times > 1)) return "";
  const stack = [`images=${places.length}`, `slices=${sections}`, `frames=${times}`, "hyperstack=true"];
  const spacing = pixelSize?.z ? [`spacing=${Number(pixelSize.z.toPrecision(9))}`] : [];
  const size = pixelSize ? ["unit=micron", ...spacing] : [];
  return ["ImageJ=1.54f", ...(isStack ? stack : []), ...size, "loop=false", ""].join("\n");
}

function follows(place, before) {
  return place.t > before.t || (place.t === before.t && place.z >= before.z);
}

/**
 * @param {Uint8Array[]} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
function concatenate(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// @ts-check
// Objects drawn over their image, as model/outputs/overlay.py.

import { colourOfClass } from "./facts.js";

const SHARE = 0.7; // of the image that shines through an object

/**
 * Tints and outlines objects in their image, which is stretched to all 256 grey levels.
 *
 * @param {import("./facts.js").OutputPage} page
 * @returns {{ width: number, height: number, channels: number, data: Uint8Array }} RGB
 */
export function drawOverlay({ width, height, labels, classes, image }) {
  const data = stretch(image);
  const tints = new Map();
  for (const value of new Set(classes)) tints.set(value, tintOf(colourOfClass(value)));
  const { ids } = labels;
  const isOutline = findOutlines(ids, width, height);
  for (let i = 0, at = 0; i < ids.length; i++, at += 3) {
    if (!ids[i] || !classes[ids[i] - 1]) continue;
    const { colour, levels } = tints.get(classes[ids[i] - 1]);
    for (let each = 0; each < 3; each++) data[at + each] = isOutline[i] ? colour[each] : levels[each][data[at + each]];
  }
  return { width, height, channels: 3, data };
}

/** RGB of 8 bits, from the lowest to the highest value of all channels; halves are rounded to the even number, as by OpenCV. */
function stretch({ width, height, channels, data }) {
  const [green, blue] = channels >= 3 ? [1, 2] : [0, 0];
  const { low, high } = rangeOf(data, channels);
  const span = high > low ? 255 / (high - low) : 0;
  const [scale, shift] = [Math.fround(span), Math.fround(-low * span)];
  const toLevel = (value) => {
    const bounded = Number.isFinite(value) ? value : value > 0 ? high : low;
    return Math.min(255, Math.max(0, roundToEven(Math.fround(bounded * scale + shift))));
  };
  const levelOf = tabulate(toLevel, data, high);
  const levels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < levels.length; from += channels, to += 3) {
    levels[to] = levelOf(data[from]);
    levels[to + 1] = green ? levelOf(data[from + green]) : levels[to];
    levels[to + 2] = blue ? levelOf(data[from + blue]) : levels[to];
  }
  return levels;
}

/** The same function, from a table where values are whole numbers of 8 or 16 bits: much faster. */
function tabulate(toLevel, data, high) {
  if (!(data instanceof Uint8Array || data instanceof Uint16Array)) return toLevel;
  const table = Uint8Array.from({ length: high + 1 }, (_, value) => toLevel(value));
  return (value) => table[value];
}

/** The lowest and highest finite value, without the opacity. */
function rangeOf(data, channels) {
  const colours = channels >= 3 ? 3 : 1;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < data.length; i += channels) {
    for (let at = i; at < i + colours; at++) {
      const value = data[at];
      if (!Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return { low, high };
}

/** A colour, and for each of its channels the tinted level for each level 0..255 of the image. */
function tintOf(colour) {
  const levels = colour.map((share) =>
    Uint8Array.from({ length: 256 }, (_, level) => {
      const shining = Math.fround(level * Math.fround(SHARE));
      return roundToEven(Math.fround(shining + Math.fround(share * Math.fround(1 - SHARE))));
    }),
  );
  return { colour, levels };
}

/** 1 for pixels that have something else among their 8 neighbours within the image. */
function findOutlines(ids, width, height) {
  const found = new Uint8Array(ids.length);
  for (let y = 0, i = 0; y < height; y++) {
    const [up, down] = [y > 0 ? -width : 0, y + 1 < height ? width : 0];
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (!id) continue;
      const [left, right] = [x > 0 ? -1 : 0, x + 1 < width ? 1 : 0];
      const isInside =
        ids[i + left] === id && ids[i + right] === id && ids[i + up] === id && ids[i + down] === id &&
        ids[i + up + left] === id && ids[i + up + right] === id && ids[i + down + left] === id && ids[i + down + right] === id;
      found[i] = isInside ? 0 : 1;
    }
  }
  return found;
}

function roundToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// @ts-check
// What takes long, beside the page: decoding, and looking for objects. Each message is a call of one of `calls`.

import { objectAreas } from "./objects.js";
import { decodePng } from "./png.js";
import { shrink, stepFor, toRgba } from "./raster.js";
import { areasOf } from "./regions.js";

const opened = new Map(); // by key: an image and its result, as promises of `{ pages, raster(index) }`
let decoded = { key: null }; // the last raster: the slider asks for the same one again and again

const calls = {
  async pages({ key, blob }) {
    return { pages: (await open(key, blob)).pages };
  },

  /** A page to look at, as RGBA; `size` is its true one, `width` and `height` are what is shown of it. */
  async picture({ key, blob, index, most, side }) {
    const raster = await (await open(key, blob)).raster(index);
    const shown = shrink(raster, stepFor(raster.width, raster.height, most, side));
    return { ...sizes(raster, shown), data: toRgba(shown) };
  },

  /** Likewise a result's values, as stored. */
  async values({ key, blob, index, most, side }) {
    const raster = await rasterOf(key, blob, index);
    const shown = shrink(raster, stepFor(raster.width, raster.height, most, side));
    return { ...sizes(raster, shown), data: shown.data.slice() };
  },

  /**
   * The areas of a result's objects, from all of its pixels. A net of one class has a `level`, from which a pixel is
   * foreground, and a `rule`, see objects.js; otherwise the values are classes.
   */
  async areas({ key, blob, index, level, rule }) {
    const { width, height, data } = await rasterOf(key, blob, index);
    const areas = level === null ? areasOf(data, width) : objectAreas(data, width, level, rule);
    return { areas, pixels: width * height };
  },
};

async function open(key, blob) {
  if (!opened.has(key)) {
    if (opened.size >= 2) opened.delete(opened.keys().next().value);
    opened.set(key, read(blob));
  }
  return opened.get(key);
}

async function read(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (bytes[0] === 0x89) return { pages: 1, raster: () => decodePng(bytes) };
  const { isTiff, openTiff } = await import("./tiff.js"); // large, so loaded for those who need it
  if (!isTiff(bytes)) throw new Error("neither PNG nor TIFF");
  return openTiff(bytes);
}

async function rasterOf(key, blob, index) {
  if (decoded.key !== key || decoded.index !== index) {
    decoded = { key, index, raster: await (await open(key, blob)).raster(index) };
  }
  return decoded.raster;
}

function sizes(raster, shown) {
  return { size: { width: raster.width, height: raster.height }, width: shown.width, height: shown.height };
}

self.addEventListener("message", async ({ data: { call, name, parameters } }) => {
  try {
    const answer = await calls[name](parameters);
    const buffers = Object.values(answer).filter(ArrayBuffer.isView);
    self.postMessage({ call, answer }, { transfer: buffers.map((array) => array.buffer) });
  } catch (error) {
    self.postMessage({ call, error: error.message });
  }
});

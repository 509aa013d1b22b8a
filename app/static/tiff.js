// @ts-check
// TIFF files, page by page; browsers show none.

import "./vendor/pako/pako_inflate.min.js"; // UTIF finds it as self.pako
import "./vendor/utif/UTIF.js";

const { UTIF } = /** @type {any} */ (self);
const DIRECT = [1, 2]; // photometric interpretations whose samples are brightness as they are: grey and RGB

// Types by sample format and bits: 2 has a sign, 3 is floating point.
const WITHOUT_RANGE = {
  "2/8": Int8Array,
  "2/16": Int16Array,
  "2/32": Int32Array,
  "1/32": Uint32Array,
  "3/32": Float32Array,
  "3/64": Float64Array,
};

export function isTiff(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  return start === "II*\0" || start === "MM\0*";
}

/** `{ pages, raster(index) }`; `raster` gives `{ width, height, channels, data }` as `decodePng` does. */
export function openTiff(bytes) {
  const pages = UTIF.decode(bytes.buffer, { parseMN: false, debug: false }).filter((page) => page.t256);
  return { pages: pages.length, raster: async (index) => rasterOf(bytes.buffer, pages[index], pages) };
}

function rasterOf(buffer, stored, pages) {
  const page = { ...stored }; // UTIF keeps the pixels in it; a copy lets go of them
  UTIF.decodeImage(buffer, page, pages);
  const { width, height } = page;
  const bits = page.t258?.[0] ?? 1;
  const channels = page.t277?.[0] ?? 1;
  const samples = width * height * channels;
  const type = WITHOUT_RANGE[`${page.t339?.[0] ?? 1}/${bits}`];
  if (type) {
    if (!page.isLE) throw new Error("numbers in the order of other machines");
    return { width, height, channels, data: stretched(new type(page.data.buffer, 0, samples)) };
  }
  if (!DIRECT.includes(page.t262?.[0]) || ![8, 16].includes(bits)) {
    return { width, height, channels: 4, data: UTIF.toRGBA8(page) };
  }
  // UTIF turns 16 bits into the little-endian order of every machine with a browser
  return { width, height, channels, data: new (bits === 16 ? Uint16Array : Uint8Array)(page.data.buffer, 0, samples) };
}

/** Numbers of any range as 16 bits: 0 is the lowest and 65535 the highest finite one. */
export function stretched(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const scale = high > low ? 65535 / (high - low) : 0;
  return Uint16Array.from(values, (value) => Math.min(65535, Math.max(0, Math.round((value - low) * scale))) || 0);
}

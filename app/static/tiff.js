// @ts-check
// TIFF files, page by page; browsers show none.

import "./inflate.js"; // UTIF.js needs it
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
  if ((page.t274?.[0] ?? 1) !== 1) throw new Error("turned by its Orientation tag");
  const bits = page.t258?.[0] ?? 1;
  const channels = page.t277?.[0] ?? 1;
  const samples = width * height * channels;
  if (channels > 1 && page.t284?.[0] === 2) throw new Error("colours apart");
  const type = WITHOUT_RANGE[`${page.t339?.[0] ?? 1}/${bits}`];
  if (type) {
    if (!page.isLE) throw new Error("numbers in the order of other machines");
    return { width, height, channels, data: new type(page.data.buffer, 0, samples) };
  }
  if (!DIRECT.includes(page.t262?.[0]) || ![8, 16].includes(bits)) {
    return { width, height, channels: 4, data: UTIF.toRGBA8(page), isConverted: true };
  }
  // UTIF turns 16 bits into the little-endian order of every machine with a browser
  return { width, height, channels, data: new (bits === 16 ? Uint16Array : Uint8Array)(page.data.buffer, 0, samples) };
}

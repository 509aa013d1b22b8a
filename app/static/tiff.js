// @ts-check
// TIFF files, page by page; browsers show none.

import "./vendor/pako/pako_inflate.min.js"; // UTIF finds it as self.pako
import "./vendor/utif/UTIF.js";

const { UTIF } = /** @type {any} */ (self);
const DIRECT = [1, 2]; // photometric interpretations whose samples are brightness as they are: grey and RGB

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
  if (!DIRECT.includes(page.t262?.[0]) || ![8, 16].includes(bits)) {
    return { width, height, channels: 4, data: UTIF.toRGBA8(page) };
  }
  // UTIF turns 16 bits into the little-endian order of every machine with a browser
  const samples = width * height * channels;
  return { width, height, channels, data: new (bits === 16 ? Uint16Array : Uint8Array)(page.data.buffer, 0, samples) };
}

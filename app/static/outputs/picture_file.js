// @ts-check
// Pictures as files, in the containers of model/images/encoding.py: a page is a PNG, several pages are a TIFF.

import { encodePng } from "../png.js";
import { zlibSync } from "../vendor/fflate/browser.js";
import { joinTiff } from "./tiff_file.js";

const LEVEL = 3; // of deflate: larger ones take much longer and gain little with masks

/**
 * A page of a TIFF file.
 *
 * @typedef {object} PackedPage
 * @property {number} width
 * @property {number} height
 * @property {number} channels 1 or 3
 * @property {number} depth bits of a number
 * @property {Uint8Array} packed
 */

/**
 * Compresses one page.
 *
 * @param {{ width: number, height: number, channels: number, data: Uint8Array | Uint16Array }} raster
 * @param {number} pages number of pages of the file
 * @returns {Promise<PackedPage | Uint8Array<ArrayBuffer>>} a PNG file if there is one page
 */
export async function packPage(raster, pages) {
  if (pages === 1) return encodePng(raster);
  const { width, height, channels, data } = raster;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength); // little-endian wherever browsers run
  return { width, height, channels, depth: 8 * data.BYTES_PER_ELEMENT, packed: zlibSync(bytes, { level: LEVEL }) };
}

/**
 * Makes a file of the pages that `packPage` compressed.
 *
 * @param {any[]} pages
 * @param {import("./facts.js").Facts} facts
 * @returns {{ bytes: Uint8Array<ArrayBuffer>, suffix: string }}
 */
export function joinPages(pages, facts) {
  if (pages.length > 1) return { bytes: joinTiff(pages, facts), suffix: ".tif" };
  return { bytes: pages[0], suffix: ".png" };
}

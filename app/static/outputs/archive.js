// @ts-check
// One ZIP file of the outputs of many images.

import { Zip, ZipDeflate, ZipPassThrough } from "../vendor/fflate/browser.js";
import { joinCsv } from "./joined_table.js";

const PACKED = /\.(png|jpe?g|webp|tif|zip)$/i; // compressed already
const JOINED = "objects.csv"; // as `python -m model.predict` names it

/**
 * Packs files, and one table of the objects in all images.
 *
 * @param {{ name: string, blob: Blob }[]} files
 * @param {{ image: string, blob: Blob }[]} tables the table of each image that has one
 * @returns {Promise<Blob>}
 */
export async function packArchive(files, tables) {
  const parts = [];
  let problem = null;
  const archive = new Zip((error, part) => (error ? (problem = error) : parts.push(part)));
  for (const { name, blob } of files) add(archive, name, new Uint8Array(await blob.arrayBuffer()));
  if (tables.length) {
    const texts = await Promise.all(tables.map(async ({ image, blob }) => ({ image, text: await blob.text() })));
    add(archive, JOINED, new TextEncoder().encode(joinCsv(texts)));
  }
  archive.end();
  if (problem) throw problem;
  return new Blob(parts, { type: "application/zip" });
}

function add(archive, name, bytes) {
  const entry = PACKED.test(name) ? new ZipPassThrough(name) : new ZipDeflate(name);
  archive.add(entry);
  entry.push(bytes, true);
}

// @ts-check
// ZIP files.

import { zipSync } from "./vendor/fflate/browser.js";

/**
 * @param {{ name: string, bytes: Uint8Array }[]} files with different names; "/" separates folders
 * @returns {Blob} files that are images are stored as they are: they are compressed already
 */
export function zip(files) {
  const entries = files.map(({ name, bytes }) => [name, [bytes, { level: /\.(png|jpe?g|webp|zip)$/.test(name) ? 0 : 6 }]]);
  return new Blob([zipSync(Object.fromEntries(entries))], { type: "application/zip" });
}

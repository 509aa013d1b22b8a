// @ts-check
// Whether an image file stores grey or colours, where the browser decodes all files to colours.

import { frameOf } from "./dimensions.js";

/**
 * True if the service reads a file as grey, which a file's header says: colours that are all equal stay colours.
 *
 * @param {Uint8Array} bytes of a PNG, JPEG, BMP or WebP file
 */
export function storesGrey(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = view.getUint16(0);
  if (start === 0x8950) return bytes[25] === 0; // PNG: the colour type
  if (start === 0xffd8) return componentsOf(view) === 1;
  return start === 0x424d && hasGreyPalette(bytes, view);
}

/** The number of components of a JPEG file; 3 if the browser finds them where these lines do not. */
function componentsOf(view) {
  try {
    return view.getUint8(frameOf(view) + 9);
  } catch {
    return 3;
  }
}

/** True if a BMP file's palette is black and white, or all 256 levels in order. */
function hasGreyPalette(bytes, view) {
  const colours = { 1: 2, 8: 256 }[view.getUint16(28, true)];
  if (!colours) return false;
  const first = 14 + view.getUint32(14, true);
  const palette = Array.from({ length: colours }, (_, index) => bytes.subarray(first + 4 * index, first + 4 * index + 3));
  return palette.every((colour, index) => colour.every((level) => level === (index * 255) / (colours - 1)));
}

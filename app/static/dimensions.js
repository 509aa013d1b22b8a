// @ts-check
// Width and height in the header of an image file, as far as a few lines can read them.

const HEAD = 2 ** 20; // bytes: JPEG files may have a profile or a thumbnail before their dimensions
const SHORT = 3; // the type of a TIFF entry that has 16 bits

/**
 * @param {Blob} file
 * @returns {Promise<{ width: number, height: number } | null>} null if the header is not read here; of a TIFF, the size of
 *   its first page
 */
export async function dimensionsOf(file) {
  const view = new DataView(await file.slice(0, HEAD).arrayBuffer());
  try {
    return readDimensions(view);
  } catch {
    return null; // a header that ends too early, or lies elsewhere in the file
  }
}

function readDimensions(view) {
  const start = view.getUint16(0);
  if (start === 0x8950) return { width: view.getUint32(16), height: view.getUint32(20) };
  if (start === 0x424d) return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  if (start === 0xffd8) return { width: view.getUint16(frameOf(view) + 7), height: view.getUint16(frameOf(view) + 5) };
  if (start === 0x4949 || start === 0x4d4d) return inTiff(view, start === 0x4949);
  return null;
}

/**
 * The place of the frame header in a JPEG file. Throws if there is none.
 *
 * @param {DataView} view
 */
export function frameOf(view) {
  for (let at = 2; ; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return at;
  }
}

function inTiff(view, isLittle) {
  if (view.getUint16(2, isLittle) !== 42) return null; // BigTIFF
  const at = view.getUint32(4, isLittle);
  const found = { width: 0, height: 0 };
  for (let entry = at + 2; entry < at + 2 + 12 * view.getUint16(at, isLittle); entry += 12) {
    const isShort = view.getUint16(entry + 2, isLittle) === SHORT;
    const value = isShort ? view.getUint16(entry + 8, isLittle) : view.getUint32(entry + 8, isLittle);
    const tag = view.getUint16(entry, isLittle);
    if (tag === 256) found.width = value;
    if (tag === 257) found.height = value;
  }
  return found;
}

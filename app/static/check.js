// @ts-check
// What needs no answer from the service: files that are no images, or end too early. All else is for it to say.

const ACCEPTED = "PNG, JPEG, TIFF, BMP and WebP are accepted";

// First bytes of a file, and whether the rest of it is there, where that is told in a few lines.
const KINDS = [
  { name: "PNG", start: "\x89PNG\r\n\x1a\n", isWhole: pngIsWhole },
  { name: "JPEG", start: "\xff\xd8\xff", isWhole: jpegIsWhole },
  { name: "WebP", start: "RIFF", isWhole: riffIsWhole },
  { name: "TIFF", start: "II*\0" },
  { name: "TIFF", start: "MM\0*" },
  { name: "TIFF", start: "II+\0" },
  { name: "TIFF", start: "MM\0+" },
  { name: "BMP", start: "BM" },
];

/**
 * Whether a file begins as an image does.
 *
 * @param {File} file
 */
export async function isImage(file) {
  return Boolean(await kindOf(file)) || isDicom(file);
}

/** Why a file is not worth sending, in words for the person, or null. */
export async function findFault(file) {
  if (!file.size) return "The file is empty.";
  if (await isDicom(file)) return null; // whether it is read depends on the service
  const kind = await kindOf(file);
  if (!kind) return `The file is not an image of a kind that is read here: ${ACCEPTED}.`;
  if (!kind.isWhole || kind.isWhole(new DataView(await file.arrayBuffer()))) return null;
  return `The ${kind.name} file is broken or truncated.`;
}

async function kindOf(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 8).arrayBuffer()));
  return KINDS.find((each) => start.startsWith(each.start));
}

async function isDicom(file) {
  return (await file.slice(128, 132).text()) === "DICM";
}

function pngIsWhole(view) {
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    if (view.getUint32(at + 4) === 0x49454e44) return true; // IEND
  }
  return false;
}

function jpegIsWhole(view) {
  for (let at = view.byteLength - 2; at >= 0; at--) {
    if (view.getUint16(at) === 0xffd9) return true; // the end of the image; other data may follow
  }
  return false;
}

function riffIsWhole(view) {
  return view.byteLength >= 8 && view.getUint32(4, true) + 8 <= view.byteLength;
}

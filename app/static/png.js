// @ts-check
// PNG files in all of their bits: what a canvas gives has 8.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY_ALPHA = 2;
const CHANNELS = { 0: 1, 2: 3, 4: GREY_ALPHA, 6: 4 }; // by colour type; 3, a palette, is left to the browser

/** What a PNG file's first bytes say, or null: `{ width, height, depth, channels, interlaced }`. */
export function readHeader(bytes) {
  if (bytes.length < 33 || !startsWith(bytes, [0x89, 0x50, 0x4e, 0x47])) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    width: view.getUint32(16),
    height: view.getUint32(20),
    depth: bytes[24],
    channels: CHANNELS[bytes[25]],
    interlaced: bytes[28] !== 0,
  };
}

/**
 * The pixels of a PNG file of 8 or 16 bits, without palette or interlacing: `{ width, height, channels, data }`, `data`
 * being a Uint8Array or Uint16Array, row by row. Throws if it is another kind, or broken.
 */
export async function decodePng(bytes) {
  const header = readHeader(bytes);
  if (!header?.channels || header.depth < 8 || header.interlaced) throw new Error("not a kind of PNG that is read here");
  const { width, height, channels, depth } = header;
  const pixel = (channels * depth) / 8;
  const stride = width * pixel;
  const packed = await inflate(compressedParts(bytes));
  if (packed.length !== height * (stride + 1)) throw new Error("a PNG file that is cut off");
  const raw = unfilter(packed, height, stride, pixel);
  const data = depth === 16 ? fromBigEndian(raw) : raw;
  return channels === GREY_ALPHA ? { width, height, channels: 4, data: spreadGrey(data) } : { width, height, channels, data };
}

/** Grey with opacity as RGBA, as the service reads it. */
function spreadGrey(data) {
  const spread = new data.constructor(2 * data.length);
  for (let from = 0, to = 0; from < data.length; from += 2, to += 4) {
    spread.fill(data[from], to, to + 3);
    spread[to + 3] = data[from + 1];
  }
  return spread;
}

const COLOUR_TYPES = { 1: 0, 2: 4, 3: 2, 4: 6 }; // by the number of channels

/**
 * A PNG file of 8 or 16 bits.
 *
 * @param {{ width: number, height: number, channels: number, data: Uint8Array | Uint8ClampedArray | Uint16Array }} raster
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function encodePng({ width, height, channels, data }) {
  const size = data.BYTES_PER_ELEMENT;
  const rows = new Uint8Array(height * (1 + width * channels * size)); // each begins with its filter: 0 for none
  for (let y = 0, to = 0, from = 0; y < height; y++) {
    to++;
    for (let i = 0; i < width * channels; i++, from++) {
      if (size === 2) rows[to++] = data[from] >> 8;
      rows[to++] = data[from];
    }
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8 * size);
  header.setUint8(9, COLOUR_TYPES[channels]);
  const parts = [chunk("IHDR", new Uint8Array(header.buffer)), chunk("IDAT", await deflate(rows)), chunk("IEND", new Uint8Array())];
  return new Uint8Array(await new Blob([new Uint8Array(SIGNATURE), ...parts]).arrayBuffer());
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A chunk of a PNG file: length, name, data and checksum. */
function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...name].map((sign) => sign.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checksum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** CRC-32 of the PNG specification, annex D. */
function checksum(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRCS[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

const CRCS = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

function startsWith(bytes, start) {
  return start.every((byte, index) => bytes[index] === byte);
}

function compressedParts(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    if (startsWith(bytes.subarray(at + 4), [0x49, 0x44, 0x41, 0x54])) {
      parts.push(bytes.subarray(at + 8, at + 8 + view.getUint32(at)));
    }
  }
  return parts;
}

async function inflate(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undoes the filters, row by row; `pixel` and `stride` are the bytes of a pixel and of a row. */
function unfilter(packed, height, stride, pixel) {
  const raw = new Uint8Array(height * stride);
  let above = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (stride + 1)];
    const row = raw.subarray(y * stride, (y + 1) * stride);
    row.set(packed.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1)));
    FILTERS[filter](row, above, pixel);
    above = row;
  }
  return raw;
}

const FILTERS = [
  () => {},
  (row, _above, pixel) => {
    for (let i = pixel; i < row.length; i++) row[i] += row[i - pixel];
  },
  (row, above) => {
    for (let i = 0; i < row.length; i++) row[i] += above[i];
  },
  (row, above, pixel) => {
    for (let i = 0; i < row.length; i++) row[i] += ((i < pixel ? 0 : row[i - pixel]) + above[i]) >> 1;
  },
  (row, above, pixel) => {
    for (let i = 0; i < pixel; i++) row[i] += above[i];
    for (let i = pixel; i < row.length; i++) row[i] += paeth(row[i - pixel], above[i], above[i - pixel]);
  },
];

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [byLeft, byUp, byCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (byLeft <= byUp && byLeft <= byCorner) return left;
  return byUp <= byCorner ? up : corner;
}

function fromBigEndian(raw) {
  const values = new Uint16Array(raw.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = (raw[2 * i] << 8) | raw[2 * i + 1];
  return values;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import { decodePng, encodePng, readHeader } from "../../app/static/png.js";

const GREY = 0;
const RGB = 2;
const PALETTE = 3;

/** A PNG file whose rows carry these filters in turn; `rows` are unfiltered bytes. */
function pngOf(rows, { width, depth = 8, colours = GREY, filters = [0], pixel = 1 }) {
  const stride = rows[0].length;
  const packed = rows.flatMap((row, y) => {
    const filter = filters[y % filters.length];
    const above = y ? rows[y - 1] : new Array(stride).fill(0);
    return [filter, ...row.map((byte, i) => (byte - predicted(filter, row, above, i, pixel)) & 255)];
  });
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, rows.length);
  header.set([depth, colours, 0, 0, 0], 8);
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  const parts = [chunk("IHDR", header), chunk("IDAT", deflateSync(Uint8Array.from(packed))), chunk("IEND", [])];
  return Uint8Array.from([...signature, ...parts.flat()]);
}

function predicted(filter, row, above, i, pixel) {
  const left = i < pixel ? 0 : row[i - pixel];
  const corner = i < pixel ? 0 : above[i - pixel];
  if (filter === 1) return left;
  if (filter === 2) return above[i];
  if (filter === 3) return (left + above[i]) >> 1;
  if (filter !== 4) return 0;
  const guess = left + above[i] - corner;
  const distances = [left, above[i], corner].map((value) => Math.abs(guess - value));
  return [left, above[i], corner][distances.indexOf(Math.min(...distances))];
}

function chunk(name, bytes) {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, bytes.length);
  return [...length, ...Buffer.from(name), ...bytes, 0, 0, 0, 0];
}

test("every filter is undone", async () => {
  const rows = Array.from({ length: 10 }, (_, y) => Array.from({ length: 7 }, (_, x) => (x * 37 + y * y * 11) & 255));
  const { width, height, channels, data } = await decodePng(pngOf(rows, { width: 7, filters: [0, 1, 2, 3, 4] }));
  assert.deepEqual([width, height, channels], [7, 10, 1]);
  assert.deepEqual([...data], rows.flat());
});

test("16 bits are big-endian", async () => {
  const { data } = await decodePng(pngOf([[0x12, 0x34, 0xff, 0xff]], { width: 2, depth: 16, pixel: 2, filters: [4] }));
  assert.deepEqual(data, Uint16Array.from([0x1234, 0xffff]));
});

test("colours have three channels", async () => {
  const { channels, data } = await decodePng(pngOf([[1, 2, 3, 4, 5, 6]], { width: 2, colours: RGB, pixel: 3 }));
  assert.equal(channels, 3);
  assert.deepEqual([...data], [1, 2, 3, 4, 5, 6]);
});

test("palettes and truncated files are errors", async () => {
  await assert.rejects(decodePng(pngOf([[1, 2]], { width: 2, colours: PALETTE })), /not a kind of PNG/);
  const whole = pngOf([[1, 2], [3, 4], [5, 6]], { width: 2 });
  const taller = whole.slice();
  taller[23] = 9; // the height in the header
  await assert.rejects(decodePng(taller), /cut off/);
});

test("other files have no header", () => {
  assert.equal(readHeader(new Uint8Array(100)), null);
  assert.equal(readHeader(new Uint8Array(3)), null);
});

test("files that are written are read again", async () => {
  const random = (length, limit) => Array.from({ length }, (_, index) => (index * 7919 + 13) % limit);
  for (const [type, limit] of [[Uint8Array, 256], [Uint16Array, 65536]]) {
    for (const channels of [1, 3, 4]) {
      const data = type.from(random(5 * 3 * channels, limit));
      const file = await encodePng({ width: 5, height: 3, channels, data });
      assert.deepEqual(await decodePng(file), { width: 5, height: 3, channels, data });
    }
  }
});

test("grey with opacity is read as colours, as by the service", async () => {
  const file = await encodePng({ width: 2, height: 1, channels: 2, data: Uint8Array.of(7, 255, 9, 0) });
  const { channels, data } = await decodePng(file);
  assert.deepEqual([channels, ...data], [4, 7, 7, 7, 255, 9, 9, 9, 0]);
});

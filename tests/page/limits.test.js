import assert from "node:assert/strict";
import { test } from "node:test";

import { dimensionsOf } from "../../app/static/dimensions.js";
import { describeLimits, findExcess } from "../../app/static/limits.js";

const LIMITS = { max_body_bytes: 1000, max_pixels: 1_000_000 };

/** A file of bytes, `[offset, value, bits, isLittle]` each. */
function fileOf(length, ...numbers) {
  const view = new DataView(new ArrayBuffer(length));
  for (const [at, value, bits, isLittle] of numbers) {
    if (bits === 32) view.setUint32(at, value, isLittle);
    else view.setUint16(at, value, isLittle);
  }
  return new File([view], "x");
}

const png = (width, height) => fileOf(33, [0, 0x8950, 16], [16, width, 32], [20, height, 32]);

test("dimensions of PNG, JPEG, BMP and TIFF are read", async () => {
  const size = { width: 1200, height: 1000 };
  assert.deepEqual(await dimensionsOf(png(1200, 1000)), size);
  const jpeg = fileOf(40, [0, 0xffd8, 16], [2, 0xffe0, 16], [4, 8, 16], [12, 0xffc2, 16], [17, 1000, 16], [19, 1200, 16]);
  assert.deepEqual(await dimensionsOf(jpeg), size);
  assert.deepEqual(await dimensionsOf(fileOf(30, [0, 0x424d, 16], [18, 1200, 32, true], [22, -1000, 32, true])), size);
  for (const isLittle of [true, false]) {
    const head = [[0, isLittle ? 0x4949 : 0x4d4d, 16], [2, 42, 16, isLittle], [4, 8, 32, isLittle], [8, 2, 16, isLittle]];
    const width = [[10, 256, 16, isLittle], [12, 4, 16, isLittle], [18, 1200, 32, isLittle]];
    const height = [[22, 257, 16, isLittle], [24, 3, 16, isLittle], [30, 1000, 16, isLittle]];
    assert.deepEqual(await dimensionsOf(fileOf(40, ...head, ...width, ...height)), size);
  }
});

test("headers that end too early have no dimensions", async () => {
  assert.equal(await dimensionsOf(new File(["\xff"], "x")), null);
  assert.equal(await dimensionsOf(fileOf(8, [0, 0x4949, 16], [2, 42, 16, true], [4, 999, 32, true])), null);
});

test("a file that exceeds a limit is described", async () => {
  assert.equal(await findExcess(png(1000, 1000), LIMITS), null);
  assert.match(await findExcess(png(1001, 1000), LIMITS), /has 1001 × 1000 pixels; this server accepts 1 megapixel\./);
  assert.match(await findExcess(fileOf(2000), LIMITS), /has 0\.002 MB; this server accepts 0\.001 MB\./);
});

test("limits are named in megabytes and megapixels", () => {
  const limits = { max_body_bytes: 134_217_728, max_pixels: 100_000_000 };
  assert.equal(describeLimits(limits), "Files up to 134 MB, images up to 100 megapixels.");
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { shrink, stepFor, toRgba } from "../../app/static/raster.js";

test("the step keeps pixels and sides within their limits", () => {
  assert.equal(stepFor(100, 100, 10_000, 100), 1);
  assert.equal(stepFor(101, 100, 10_000, 1000), 2);
  assert.equal(stepFor(100, 10, 10_000, 30), 4);
});

test("shrinking keeps every nth pixel of every nth row", () => {
  const raster = { width: 3, height: 3, channels: 1, data: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]) };
  assert.deepEqual(shrink(raster, 2), { width: 2, height: 2, channels: 1, data: Uint8Array.from([1, 3, 7, 9]) });
  assert.equal(shrink(raster, 1), raster);
});

test("16 bits are stretched to the range in use", () => {
  const rgba = toRgba({ width: 3, height: 1, channels: 1, data: Uint16Array.from([1000, 1500, 2000]) });
  assert.deepEqual([...rgba], [0, 0, 0, 255, 128, 128, 128, 255, 255, 255, 255, 255]);
});

test("a constant image of 16 bits is black, not an error", () => {
  assert.deepEqual([...toRgba({ width: 1, height: 1, channels: 1, data: Uint16Array.from([7]) })], [0, 0, 0, 255]);
});

test("8 bits stay, and opacity is dropped", () => {
  const rgba = toRgba({ width: 1, height: 1, channels: 4, data: Uint8Array.from([10, 20, 30, 40]) });
  assert.deepEqual([...rgba], [10, 20, 30, 255]);
});

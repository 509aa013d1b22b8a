import assert from "node:assert/strict";
import { test } from "node:test";

import { shrink, stepFor, toRgba } from "../../app/static/raster.js";

const AUTO = { isAuto: true, gamma: 1 };
const FULL = { isAuto: false, gamma: 1 };

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
  const rgba = toRgba({ width: 3, height: 1, channels: 1, data: Uint16Array.from([1000, 1500, 2000]) }, FULL);
  assert.deepEqual([...rgba], [0, 0, 0, 255, 128, 128, 128, 255, 255, 255, 255, 255]);
});

test("a constant image of 16 bits is black, not an error", () => {
  assert.deepEqual([...toRgba({ width: 1, height: 1, channels: 1, data: Uint16Array.from([7]) }, AUTO)], [0, 0, 0, 255]);
});

test("8 bits stay, and opacity is dropped", () => {
  const rgba = toRgba({ width: 1, height: 1, channels: 4, data: Uint8Array.from([10, 20, 30, 40]) }, AUTO);
  assert.deepEqual([...rgba], [10, 20, 30, 255]);
});

test("one hot pixel does not blacken the image by contrast auto", () => {
  const data = Uint16Array.from({ length: 1000 }, (_, index) => (index ? 100 + (index % 100) : 65535));
  const raster = { width: 1000, height: 1, channels: 1, data };
  const brightest = (contrast) => Math.max(...toRgba(raster, contrast).filter((_, index) => index % 4 === 0).slice(1));
  assert.equal(brightest(AUTO), 255);
  assert.equal(brightest(FULL), 0);
});

test("values that are not finite do not count, and NaN is black", () => {
  const data = Float32Array.from([NaN, -1, 0, 1, Infinity]);
  const rgba = toRgba({ width: 5, height: 1, channels: 1, data }, FULL);
  assert.deepEqual([...rgba.filter((_, index) => index % 4 === 0)], [0, 0, 128, 255, 255]);
});

test("a gamma below 1 brightens what is between black and white", () => {
  const raster = { width: 3, height: 1, channels: 1, data: Uint8Array.from([0, 64, 255]) };
  const grey = toRgba(raster, { isAuto: true, gamma: 0.5 }).filter((_, index) => index % 4 === 0);
  assert.deepEqual([...grey], [0, 128, 255]);
});

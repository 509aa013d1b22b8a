import assert from "node:assert/strict";
import { test } from "node:test";

import { classesOf, describeIntensities, measureIntensities, measureShapes } from "../../app/static/measurements.js";

const LABELS = { ids: Int32Array.from([1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]), count: 2 }; // three rows of four

test("shapes have area, centroid, box and border", () => {
  const shapes = measureShapes(LABELS, 4);
  assert.deepEqual([...shapes.area], [2, 1]);
  assert.deepEqual([...shapes.x], [1, 1.5]);
  assert.deepEqual([...shapes.y], [0.5, 1.5]);
  assert.deepEqual([...shapes.left, ...shapes.top], [0, 1, 0, 1]);
  assert.deepEqual([...shapes.boxWidth, ...shapes.boxHeight], [2, 1, 1, 1]);
  assert.deepEqual([...shapes.touchesBorder], [1, 0]);
});

test("intensities leave out values that are not finite", () => {
  const data = Float32Array.from([4, NaN, 0, 0, 0, Infinity, 0, 0, 0, 0, 0, 0]);
  const [{ name, values }] = measureIntensities(LABELS, { channels: 1, data });
  assert.deepEqual([name, ...values], ["", 4, NaN]);
});

test("colours are measured one by one, without opacity", () => {
  const data = Uint8Array.from({ length: 48 }, (_, index) => index % 4);
  const found = measureIntensities(LABELS, { channels: 4, data });
  assert.deepEqual(found.map(({ name, values }) => [name, values[0]]), [["red", 0], ["green", 1], ["blue", 2]]);
});

test("intensities have a spread, without values that are not finite", () => {
  const data = Float32Array.from([4, 8, 0, 0, 0, NaN, 0, 0, 0, 0, 0, 0]);
  const [{ name, mean, std, min, max }] = describeIntensities(LABELS, { channels: 1, data });
  assert.equal(name, "");
  assert.deepEqual([mean, std, min, max].map((values) => [...values]), [[6, NaN], [2, NaN], [4, NaN], [8, NaN]]);
});

test("the class of an object is the mask's value in it", () => {
  assert.deepEqual([...classesOf(LABELS, [0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])], [3, 1]);
});

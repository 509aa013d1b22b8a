import assert from "node:assert/strict";
import { test } from "node:test";

import { dropSmall, findRegions } from "../../app/static/regions.js";

test("regions are 4-connected and of one value", () => {
  const { ids, count } = findRegions(Uint8Array.from([1, 0, 2, 1, 0, 2, 0, 1, 1]), 3);
  assert.equal(count, 3);
  assert.deepEqual([...ids], [1, 0, 3, 1, 0, 3, 0, 2, 2]);
});

test("regions are numbered by value, then by their first pixel", () => {
  assert.deepEqual([...findRegions(Uint8Array.from([2, 0, 1, 0, 2, 0, 1]), 7).ids], [3, 0, 1, 0, 4, 0, 2]);
});

test("parts that meet further down are one region", () => {
  const { ids, count } = findRegions(Uint8Array.from([0, 0, 1, 1, 0, 1, 1, 1, 1]), 3);
  assert.equal(count, 1);
  assert.deepEqual([...ids], [0, 0, 1, 1, 0, 1, 1, 1, 1]);
});

test("rows are not connected around the edge", () => {
  assert.equal(findRegions(Uint8Array.from([0, 1, 1, 0]), 2).count, 2);
});

test("small objects are dropped and the others renumbered", () => {
  const dropped = dropSmall({ ids: Int32Array.from([1, 0, 2, 2, 0, 3, 3, 3]), count: 3 }, 2);
  assert.deepEqual(dropped, { ids: Int32Array.from([0, 0, 1, 1, 0, 2, 2, 2]), count: 2 });
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { isCountedHere, objectAreas } from "../../app/static/objects.js";
import { areasOf } from "../../app/static/regions.js";

const REGIONS = { objects: "regions", min_area: 0 };
const INTERIORS = { objects: "interiors", min_area: 0 };

test("regions are 4-connected and of one value", () => {
  const values = Uint8Array.from([1, 0, 2, 1, 0, 2, 0, 1, 1]);
  assert.deepEqual([...areasOf(values, 3)].sort(), [2, 2, 2]);
});

test("parts that meet further down are one region", () => {
  const values = Uint8Array.from([1, 0, 1, 1, 0, 1, 1, 1, 1]);
  assert.deepEqual([...areasOf(values, 3)], [7]);
});

test("rows are not connected around the edge", () => {
  assert.deepEqual([...areasOf(Uint8Array.from([0, 1, 1, 0]), 2)].sort(), [1, 1]);
});

test("pixels from the level on are foreground", () => {
  const probabilities = Uint16Array.from([0, 32768, 65535, 0]);
  assert.deepEqual([...objectAreas(probabilities, 4, 32768, REGIONS)], [2]);
  assert.deepEqual([...objectAreas(probabilities, 4, 32769, REGIONS)], [1]);
});

test("interiors grow until a line separates them", () => {
  const probabilities = Uint16Array.from([65535, 30000, 20000, 30000, 65535]);
  assert.deepEqual([...objectAreas(probabilities, 5, 40000, INTERIORS)], [2, 2]);
});

test("an image without foreground has no objects", () => {
  assert.equal(objectAreas(new Uint16Array(9), 3, 1, INTERIORS).length, 0);
});

test("rules that only the service knows are left to it", () => {
  assert.equal(isCountedHere({ objects: "seeds", min_area: 0 }), false);
  assert.equal(isCountedHere({ objects: "regions", min_area: 5 }), false);
  assert.equal(objectAreas(new Uint16Array(4), 2, 1, { objects: "seeds", min_area: 0 }), null);
});

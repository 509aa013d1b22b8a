import assert from "node:assert/strict";
import { test } from "node:test";

import { findObjects, isCountedHere } from "../../app/static/objects.js";

const REGIONS = { objects: "regions", min_area: 0 };
const INTERIORS = { objects: "interiors", min_area: 0 };

test("pixels from the level on are foreground", () => {
  const probabilities = Uint16Array.from([0, 32768, 65535, 0]);
  assert.deepEqual([...findObjects(probabilities, 4, 32768, REGIONS).ids], [0, 1, 1, 0]);
  assert.deepEqual([...findObjects(probabilities, 4, 32769, REGIONS).ids], [0, 0, 1, 0]);
});

test("interiors grow until a line separates them", () => {
  const probabilities = Uint16Array.from([65535, 30000, 20000, 30000, 65535]);
  assert.deepEqual([...findObjects(probabilities, 5, 40000, INTERIORS).ids], [1, 1, 0, 2, 2]);
});

test("small objects are dropped before interiors grow", () => {
  const probabilities = Uint16Array.from([65535, 30000, 20000, 65535, 65535]);
  const { ids, count, mask } = findObjects(probabilities, 5, 40000, { ...INTERIORS, min_area: 2 });
  assert.equal(count, 1);
  assert.deepEqual([...mask], [0, 0, 0, 1, 1]);
  assert.deepEqual([...ids], [1, 1, 1, 1, 1]);
});

test("an image without foreground has no objects", () => {
  assert.equal(findObjects(new Uint16Array(9), 3, 1, INTERIORS).count, 0);
});

test("rules that only the service knows are left to it", () => {
  assert.equal(isCountedHere({ objects: "seeds", min_area: 0 }, true), false);
  assert.equal(isCountedHere({ objects: "interiors", min_area: 0 }, false), false);
  assert.equal(isCountedHere({ objects: "interiors", min_area: 5 }, true), true);
  assert.equal(isCountedHere({ objects: "regions", min_area: 5 }, false), true);
});

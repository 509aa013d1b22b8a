import assert from "node:assert/strict";
import { test } from "node:test";

import { channelsIn, pagesIn, pixelSizeIn } from "../../app/static/api.js";

test("ranges of pages are written out", () => {
  assert.deepEqual(pagesIn("1-5/2"), [1, 3, 5]);
  assert.deepEqual(pagesIn("0,2,4-6/1,-,9"), [0, 2, 4, 5, 6, null, 9]);
  assert.deepEqual(pagesIn("3"), [3]);
});

test("the size of a pixel is two numbers, or unknown", () => {
  assert.deepEqual(pixelSizeIn("0.5,0.25"), { x: 0.5, y: 0.25 });
  assert.equal(pixelSizeIn(""), null);
});

test("names of channels are decoded", () => {
  assert.deepEqual(channelsIn("DAPI,%C2%B5-GFP%2C2"), ["DAPI", "µ-GFP,2"]);
  assert.deepEqual(channelsIn(""), []);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { channelPagesIn, channelsIn, pagesIn, pixelSizeIn, placesIn } from "../../app/static/api.js";

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

test("channels have a title and pages", () => {
  assert.deepEqual(channelPagesIn("%C2%B5%3DGFP=0-4/2;1=1,-,5"), [
    { title: "µ=GFP", pages: [0, 2, 4] },
    { title: "1", pages: [1, null, 5] },
  ]);
  assert.deepEqual(channelPagesIn(""), []);
});

test("places count sections or times first", () => {
  assert.deepEqual(placesIn("z2:0-2/1"), [{ z: 0, t: 0 }, { z: 1, t: 0 }, { z: 0, t: 1 }]);
  assert.deepEqual(placesIn("t3:0,3,1"), [{ z: 0, t: 0 }, { z: 1, t: 0 }, { z: 0, t: 1 }]);
  assert.deepEqual(placesIn(""), []);
});

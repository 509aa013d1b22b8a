import assert from "node:assert/strict";
import { test } from "node:test";

import { outlineOf } from "../../app/static/outline.js";

test("an outline runs along the edges of pixels, also at the image's border", () => {
  const segments = outlineOf([1, 1, 0, 1, 0, 2], 3, 1, { left: 0, top: 0, width: 2, height: 2 });
  const sorted = segments.map((segment) => segment.join()).sort();
  assert.deepEqual(sorted, ["0,0,0,2", "0,0,2,0", "0,2,1,2", "1,1,1,2", "1,1,2,1", "2,0,2,1"]);
});

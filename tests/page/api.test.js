import assert from "node:assert/strict";
import { test } from "node:test";

import { pagesIn } from "../../app/static/api.js";

test("ranges of pages are written out", () => {
  assert.deepEqual(pagesIn("1-5/2"), [1, 3, 5]);
  assert.deepEqual(pagesIn("0,2,4-6/1,-,9"), [0, 2, 4, 5, 6, null, 9]);
  assert.deepEqual(pagesIn("3"), [3]);
});

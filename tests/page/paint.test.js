import assert from "node:assert/strict";
import { test } from "node:test";

import { paintRegions } from "../../app/static/paint.js";

test("regions are filled, and outlined where another value is next to them", () => {
  const { fill, outline } = paintRegions([1, 1, 1, 1, 1, 1, 1, 1, 2], 3, (value) => 10 * value);
  assert.deepEqual([...fill], [10, 10, 10, 10, 10, 10, 10, 10, 20]);
  assert.deepEqual([...outline], [0, 0, 0, 0, 0, 10, 0, 10, 20]);
});

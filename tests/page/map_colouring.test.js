import assert from "node:assert/strict";
import { test } from "node:test";

import { chooseColours } from "../../app/static/map_colouring.js";

test("neighbours across a line have different colours", () => {
  const ids = Int32Array.from([1, 0, 3, 0, 0, 0, 2, 0, 4, 0, 5, 5]); // four rows of three, a line between each two
  const colours = chooseColours({ ids, count: 5 }, 3, 2);
  assert.notEqual(colours[1], colours[3]);
  assert.notEqual(colours[2], colours[4]);
});

test("objects share colours if there are more neighbours than colours", () => {
  const colours = chooseColours({ ids: Int32Array.from([1, 2, 3, 4]), count: 4 }, 2, 2);
  assert.ok(colours.every((colour) => colour < 2));
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { distinctStems, imageNameOf, stemOf } from "../../app/static/names.js";

test("the name of an image has the stem of the answer and the ending of the file", () => {
  const result = { name: "Zähne_2_probability.tif" };
  assert.equal(stemOf(result), "Zähne_2");
  assert.equal(imageNameOf({ file: { name: "Zähne/2.t*f" }, result }), "Zähne_2.t_f");
  assert.equal(imageNameOf({ file: { name: ".hidden" }, result }), "Zähne_2");
});

test("equal names get numbers, in upper and lower case", () => {
  assert.deepEqual(distinctStems(["a", "A", "b", "a-2", "a"]), ["a", "A-2", "b", "a-2-2", "a-3"]);
});

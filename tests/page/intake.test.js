import assert from "node:assert/strict";
import { test } from "node:test";

import { isImage } from "../../app/static/check.js";
import { describeSkipped } from "../../app/static/intake.js";

test("skipped files are counted and named", () => {
  const files = ["a", "b", "c", "d", "e", "f", "g"].map((name) => ({ name }));
  assert.equal(describeSkipped(files.slice(0, 1)), "1 file is not an image: a.");
  assert.equal(describeSkipped(files), "7 files are not images: a, b, c, d, e, and 2 more.");
});

test("an image is known by its first bytes", async () => {
  const dicom = new Uint8Array(132);
  dicom.set([68, 73, 67, 77], 128);
  assert.equal(await isImage(new File([new Uint8Array([0xff, 0xd8, 0xff, 0xe0])], "x")), true);
  assert.equal(await isImage(new File([dicom], "x")), true);
  assert.equal(await isImage(new File(["name,area"], "table.csv")), false);
  assert.equal(await isImage(new File([], "empty.png")), false);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { storesGrey } from "../../app/static/grey.js";

test("JPEG files are grey if they have one component", () => {
  const frame = (components) => Uint8Array.of(0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 1, 0, 1, components, 0, 0);
  assert.equal(storesGrey(frame(1)), true);
  assert.equal(storesGrey(frame(3)), false);
});

test("BMP files are grey if their palette has all levels in order", () => {
  const file = new Uint8Array(14 + 40 + 4 * 256);
  file.set([0x42, 0x4d]);
  file[14] = 40; // bytes of the header, from which the palette follows
  file[28] = 8; // bits
  for (let level = 0; level < 256; level++) file.fill(level, 54 + 4 * level, 57 + 4 * level);
  assert.equal(storesGrey(file), true);
  file[54] = 1;
  assert.equal(storesGrey(file), false);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { channelParameter } from "../../app/static/channels.js";

test("a channel is chosen by its name, because its number may differ in other images", () => {
  assert.equal(channelParameter(["DAPI", "GFP"], 1), "GFP");
});

test("a channel is chosen by its number if its name is a number, not unique or too long", () => {
  assert.equal(channelParameter(["1", "2"], 0), "0");
  assert.equal(channelParameter(["GFP", "gfp"], 1), "1");
  assert.equal(channelParameter(["a".repeat(101), "b"], 0), "0");
});

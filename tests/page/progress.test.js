import assert from "node:assert/strict";
import { test } from "node:test";

import { describeState, isOnItsWay, shareOf } from "../../app/static/progress.js";

const computing = (progress) => ({ state: "computing", sent: 1, progress });

test("the share of the upload is shown", () => {
  assert.equal(describeState({ state: "uploading", sent: 0.256, progress: null }), "Uploading 26%");
});

test("tiles and the download have a share", () => {
  assert.equal(describeState(computing({ stage: "computing", stage_s: 12.7, tiles_done: 3, tiles: 8 })), "Computing 38%, 12 s");
  assert.equal(describeState(computing({ stage: "downloading", share: 0.5 })), "Downloading 50%");
});

test("stages without a share are named", () => {
  assert.equal(describeState(computing({ stage: "decoding", tiles_done: 0, tiles: 0 })), "Reading the image");
  assert.equal(describeState(computing({ stage: "loading", stage_s: 2.4, tiles_done: 0, tiles: 0 })), "Loading the net, 2 s");
  assert.equal(describeState(computing({ stage: "encoding", stage_s: 3, tiles_done: 8, tiles: 8 })), "Writing the mask, 3 s");
  assert.equal(shareOf(computing({ stage: "queued", tiles_done: 0, tiles: 8 })), null);
});

test("without progress from the service the share is unknown", () => {
  assert.equal(describeState(computing(null)), "Computing");
  assert.equal(shareOf(computing(null)), null);
});

test("a failure is described by its problem", () => {
  assert.equal(describeState({ state: "failed", problem: { message: "The file is empty." } }), "The file is empty.");
});

test("only images with a request can be cancelled", () => {
  const states = ["waiting", "uploading", "computing", "busy", "done", "outdated", "cancelled", "failed"];
  assert.deepEqual(states.filter((state) => isOnItsWay({ state })), states.slice(0, 4));
});

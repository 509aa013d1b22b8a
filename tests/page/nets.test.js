import assert from "node:assert/strict";
import { test } from "node:test";

import { factsOf, findAdded, findNet, purposeOf, signatureOf, splitDoubt } from "../../app/static/nets.js";

const net = (name, sha256 = "0".repeat(64)) => ({ name, sha256 });
const served = { default: "cells", models: [net("cells"), net("nuclei")] };

const described = {
  labels: { 0: "background", 255: "cell interior" },
  preprocessing: { channels: "grey" },
  input_channels: 1,
  architecture: { classes: 1 },
  card: null,
};

test("a name finds its net, and any other name the default net", () => {
  assert.equal(findNet(served, "nuclei").name, "nuclei");
  assert.equal(findNet(served, "polyps").name, "cells");
  assert.equal(findNet(served, null).name, "cells");
});

test("a net that is replaced, added or made the default is a change", () => {
  const others = [
    { ...served, models: [net("cells"), net("nuclei", "1".repeat(64))] },
    { ...served, models: [net("cells"), net("nuclei"), net("polyps")] },
    { ...served, default: "nuclei" },
  ];
  for (const other of others) assert.notEqual(signatureOf(other), signatureOf(served));
  const loaded = served.models.map((model) => ({ ...model, loaded: true }));
  assert.equal(signatureOf({ ...served, models: loaded }), signatureOf(served));
  assert.deepEqual(findAdded(others[1], served).map(({ name }) => name), ["polyps"]);
  assert.deepEqual(findAdded(others[0], served), []);
});

test("a net without a card is described by its labels and its input", () => {
  assert.equal(purposeOf(described), "Distinguishes background and cell interior.");
  assert.deepEqual(factsOf(described), [["Images", "grey, or colours converted to grey"]]);
});

test("a card describes its net, without what it leaves open", () => {
  const card = { segments: "Nuclei of cells.", modality: "fluorescence", pixel_size_um: 0.65, not_for: "" };
  const model = { ...described, card, preprocessing: { channels: "rgb" }, architecture: { classes: 2 } };
  assert.equal(purposeOf(model), "Nuclei of cells.");
  assert.deepEqual(factsOf(model), [
    ["Images", "fluorescence; colour"],
    ["Pixel", "0.65 µm"],
    ["Classes", "background, cell interior"],
  ]);
  const small = { ...described, card: { ...card, modality: "", pixel_size_um: 0.004, not_for: "Tissue." } };
  assert.deepEqual(factsOf(small).slice(1), [["Pixel", "4 nm"], ["Not for", "Tissue."]]);
});

test("the doubt is taken out of a notice", () => {
  const doubt = "The image looks unlike the images that em-membranes-1.2 was trained on: objects 2.5 times as large.";
  assert.deepEqual(splitDoubt(doubt), { doubt, suited: [], rest: "" });
  const rest = "Channel 0 of 3. Values were scaled.";
  assert.deepEqual(splitDoubt(`Channel 0 of 3. ${doubt} Values were scaled.`), { doubt, suited: [], rest });
  const suggestion = "Nets that were trained on such images: nuclei-v1.2, cells.";
  assert.deepEqual(splitDoubt(`${doubt} ${suggestion}`), { doubt, suited: ["nuclei-v1.2", "cells"], rest: "" });
  assert.deepEqual(splitDoubt("Channel 0 of 3."), { doubt: "", suited: [], rest: "Channel 0 of 3." });
});

// Tools that correct a mask, on small masks drawn with digits.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CorrectedPage, hasUnsaved } from "../../app/static/correcting/corrected_page.js";
import { deleteRegion, Edit, ToolProblem } from "../../app/static/correcting/tools.js";
import { findRegions } from "../../app/static/regions.js";

function pageOf(kind, ...rows) {
  const digits = [...rows.join("")].map(Number);
  const values = kind === "instances" ? Int32Array.from(digits) : Uint8Array.from(digits);
  return new CorrectedPage({ kind, values, width: rows[0].length });
}

function rowsOf({ values, width }) {
  return [...values].join("").match(new RegExp(`.{${width}}`, "g"));
}

/** Draws through points `[x, y]`, which are the middles of pixels. */
function draw(page, tool, points, { size = 1, classValue = 1 } = {}) {
  const [first, ...others] = points.map(([x, y]) => ({ x: x + 0.5, y: y + 0.5 }));
  const edit = new Edit(tool, page, first, { size, classValue });
  others.forEach((point) => edit.move(point));
  edit.end();
}

test("the brush paints a line without gaps, as wide as its size", () => {
  const page = pageOf("mask", "000000", "000000", "000000", "000000", "000000");
  draw(page, "brush", [[0, 0], [5, 4]]);
  const { count } = findRegions(page.values.map((value) => 1 - value), page.width);
  assert.equal(count, 2); // the line separates the two sides
  const wide = pageOf("mask", "000000", "000000", "000000", "000000");
  draw(wide, "brush", [[1, 1], [4, 1]], { size: 3 });
  assert.deepEqual(rowsOf(wide), ["111111", "111111", "111111", "000000"]);
});

test("a stroke may leave the image and come back", () => {
  const page = pageOf("mask", "0000", "0000", "0000");
  draw(page, "brush", [[2, 1], [9, 1], [-5, -7]]);
  assert.deepEqual(rowsOf(page).at(1), "0011");
  assert.equal(page.values.length, 12);
});

test("the brush extends the object where it begins, or makes a new one", () => {
  const page = pageOf("instances", "2200", "0000", "0003");
  draw(page, "brush", [[1, 0], [3, 0]]);
  draw(page, "brush", [[0, 2], [1, 2]]);
  assert.deepEqual(rowsOf(page), ["2222", "0000", "4403"]);
  const classes = pageOf("classes", "1100", "0000");
  draw(classes, "brush", [[1, 0], [3, 0]], { classValue: 2 });
  assert.deepEqual(rowsOf(classes), ["1222", "0000"]);
});

test("a line of background splits an object", () => {
  const page = pageOf("mask", "11111", "11111", "11111");
  draw(page, "split", [[2, 0], [2, 2]]);
  assert.deepEqual(rowsOf(page), ["11011", "11011", "11011"]);
});

test("a stroke from one object into another merges both", () => {
  const mask = pageOf("mask", "110011", "110011");
  draw(mask, "merge", [[1, 0], [4, 0]]);
  assert.deepEqual(rowsOf(mask), ["111111", "110011"]);
  const instances = pageOf("instances", "120330", "120330");
  draw(instances, "merge", [[1, 0], [3, 0]]);
  assert.deepEqual(rowsOf(instances), ["122220", "120220"]);
});

test("a stroke that merges nothing changes nothing", () => {
  const page = pageOf("mask", "110000", "110000");
  for (const points of [[[1, 0], [2, 0], [3, 0]], [[4, 0], [1, 0]]]) {
    assert.throws(() => draw(page, "merge", points, { size: 3 }), ToolProblem);
    assert.deepEqual(rowsOf(page), ["110000", "110000"]);
  }
  const classes = pageOf("classes", "1002");
  assert.throws(() => draw(classes, "merge", [[0, 0], [3, 0]]), /different classes/);
  assert.deepEqual(rowsOf(classes), ["1002"]);
  assert.equal(page.isCorrected || classes.isCorrected, false);
});

test("a hole is filled with the object around it", () => {
  const page = pageOf("instances", "22222", "20002", "20302", "20002", "22222");
  draw(page, "fill", [[1, 1]]);
  assert.deepEqual(rowsOf(page), ["22222", "22222", "22322", "22222", "22222"]);
  const open = pageOf("mask", "1110", "1010", "1110");
  for (const [x, y] of [[3, 1], [0, 0]]) assert.throws(() => draw(open, "fill", [[x, y]]), ToolProblem);
  draw(open, "fill", [[1, 1]]);
  assert.deepEqual(rowsOf(open), ["1110", "1110", "1110"]);
});

test("an object is deleted, and its neighbours stay", () => {
  const page = pageOf("instances", "1122", "1022", "0030");
  draw(page, "delete", [[2, 1]]);
  assert.deepEqual(rowsOf(page), ["1100", "1000", "0030"]);
  assert.throws(() => draw(page, "delete", [[1, 1]]), /no object/);
  deleteRegion(page, 10);
  assert.deepEqual(rowsOf(page), ["1100", "1000", "0000"]);
});

test("every edit is undone and done again", () => {
  const page = pageOf("mask", ...Array.from({ length: 20 }, () => "00000000000000000000"));
  const states = [rowsOf(page)];
  let seed = 1;
  const random = (limit) => (seed = (seed * 16807) % 2147483647) % limit;
  for (let edit = 0; edit < 60; edit++) {
    const points = Array.from({ length: 4 }, () => [random(20), random(20)]);
    draw(page, random(3) ? "brush" : "eraser", points, { size: 1 + 2 * random(3) });
    if (page.lastEdit && rowsOf(page).join() !== states.at(-1).join()) states.push(rowsOf(page));
  }
  assert.ok(states.length > 30);
  for (const state of states.toReversed()) {
    assert.deepEqual(rowsOf(page), state);
    page.undo();
  }
  assert.equal(page.isCorrected, false);
  for (const state of states) {
    assert.deepEqual(rowsOf(page), state);
    page.redo();
  }
  assert.equal(page.canRedo, false);
});

test("what changed is known until it is asked for", () => {
  const page = pageOf("mask", "0000", "0000", "0000");
  draw(page, "brush", [[1, 1], [2, 1]]);
  assert.deepEqual(page.takeTouched(), { left: 1, top: 1, right: 3, bottom: 2 });
  assert.equal(page.takeTouched(), null);
  page.undo();
  assert.deepEqual(page.takeTouched(), { left: 1, top: 1, right: 3, bottom: 2 });
});

test("corrections are saved as they were at an edit", () => {
  const page = pageOf("mask", "0000");
  const corrections = new Map([[0, page]]);
  assert.equal(hasUnsaved(corrections), false);
  draw(page, "brush", [[0, 0]]);
  const saved = page.lastEdit;
  draw(page, "brush", [[1, 0]]);
  page.markSaved(saved);
  assert.equal(hasUnsaved(corrections), true);
  page.undo();
  assert.equal(hasUnsaved(corrections), false);
});

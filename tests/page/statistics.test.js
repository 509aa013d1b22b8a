import assert from "node:assert/strict";
import { test } from "node:test";

import { areasOfBins, histogram, percent, summarise } from "../../app/static/statistics.js";

test("the summary has count, median and share", () => {
  const { count, median, share, text } = summarise(Uint32Array.from([4, 1, 100]), 1000);
  assert.deepEqual([count, median, share], [3, 4, 0.105]);
  assert.match(text, /^3 objects, 10\.5% of the image\. Areas from 1 to 100 pixels/);
});

test("one object is singular", () => {
  assert.match(summarise(Uint32Array.from([5]), 10).text, /^1 object, 50\.0%/);
});

test("no objects have no median", () => {
  assert.deepEqual(summarise(new Uint32Array(), 10), { count: 0, median: null, share: 0, text: "No objects at this threshold." });
});

test("every area is in one bin, also at the edges", () => {
  const { counts, decades } = histogram(Uint32Array.from([1, 9, 10, 999, 1000]));
  assert.equal(decades, 4);
  assert.equal(counts.reduce((sum, count) => sum + count), 5);
  assert.deepEqual([counts[0], counts[6], counts[18]], [1, 1, 1]);
});

test("columns of the histogram have the areas that are counted in them", () => {
  for (const area of [1, 2, 3, 9, 10, 14, 15, 99, 100, 1000]) {
    const column = histogram(Uint32Array.from([area])).counts.indexOf(1);
    const { least, most } = areasOfBins(column, column);
    assert.ok(least <= area && area <= most, `${area} in ${least} to ${most}`);
  }
  assert.deepEqual(areasOfBins(0, 5), { least: 1, most: 9 });
});

test("shares have one decimal", () => {
  assert.equal(percent(0.12345), "12.3%");
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { columnsOf, sortObjects } from "../../app/static/columns.js";

const FOUND = {
  shapes: {
    area: Uint32Array.from([1200, 7]),
    x: Float64Array.from([1.25, 2]),
    y: Float64Array.from([3, 4]),
    boxWidth: [40, 3],
    boxHeight: [50, 4],
    touchesBorder: [1, 0],
  },
  classes: [1, 2],
  intensities: [{ name: "", values: Float64Array.from([128.456, NaN]) }],
};

const textsOf = (columns, object) => Object.fromEntries(columns.map(({ title, values, text }) => [title, text(values[object])]));

test("a row has the texts of all columns", () => {
  assert.deepEqual(textsOf(columnsOf(FOUND, { x: 0.5, y: 0.1 }, { 1: "nucleus" }), 0), {
    Label: "1",
    Class: "nucleus",
    "Area px": "1,200",
    "Area µm²": "60.00",
    "x px": "1.3",
    "y px": "3.0",
    "Box width": "40",
    "Box height": "50",
    "Mean intensity": "128.5",
    "At border": "yes",
  });
});

test("classes and micrometres are left out if there are none", () => {
  const texts = textsOf(columnsOf(FOUND, null, null), 1);
  assert.equal("Class" in texts || "Area µm²" in texts, false);
  assert.equal(texts["Mean intensity"], "–");
});

test("objects are sorted both ways, those without a value last", () => {
  const values = [3, NaN, 1, 3];
  const all = () => true;
  assert.deepEqual(sortObjects(values, false, all), [2, 0, 3, 1]);
  assert.deepEqual(sortObjects(values, true, all), [0, 3, 2, 1]);
  assert.deepEqual(sortObjects(values, false, (object) => object !== 0), [2, 3, 1]);
});

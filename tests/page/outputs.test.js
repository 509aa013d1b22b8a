import assert from "node:assert/strict";
import { test } from "node:test";

import { classesOf, describeIntensities, measureShapes } from "../../app/static/measurements.js";
import { annotationsOf, encodeCounts, joinAnnotations } from "../../app/static/outputs/coco.js";
import { featuresOf, joinFeatures } from "../../app/static/outputs/geojson.js";
import { joinCsv } from "../../app/static/outputs/joined_table.js";
import { makeFiles } from "../../app/static/outputs/make.js";
import { maskToWrite } from "../../app/static/outputs/masks.js";
import { outlineObjects } from "../../app/static/outputs/rings.js";
import { joinRois, roisOf } from "../../app/static/outputs/rois.js";
import { formatNumber, joinTables, measurePage } from "../../app/static/outputs/table.js";
import { findRegions } from "../../app/static/regions.js";
import { unzipSync } from "../../app/static/vendor/fflate/browser.js";

const LABELS = { 0: "background", 255: "cell" };
const PIXEL_SIZE = { x: 0.5, y: 0.25, z: 0 };
const FACTS = { name: "x.png", pages: 1, labels: LABELS, pixelSize: PIXEL_SIZE, places: [], channel: null, hasChannels: false };
const RULE = { objects: "regions", min_area: 0 };

/** A page of rows such as "##. .#", "#" being foreground. */
function pageOf(...rows) {
  const width = rows[0].length;
  const mask = Uint8Array.from(rows.join(""), (sign) => (sign === "#" ? 255 : 0));
  const labels = findRegions(mask, width);
  const [classes, shapes] = [classesOf(labels, mask), measureShapes(labels, width)];
  return { index: 0, width, height: rows.length, labels, mask, classes, shapes, image: null, intensities: null };
}

// What the service makes of this page is written in the tests below.
const PAGE = pageOf("###..#", "#.#..#", "###.##", "......");

test("table has the numbers of the service", () => {
  assert.equal(
    joinTables([measurePage(PAGE, FACTS)]),
    [
      "page,label,class,area_px,centroid_x_px,centroid_y_px,bbox_x_px,bbox_y_px,bbox_width_px,bbox_height_px,perimeter_px," +
        "equivalent_diameter_px,major_axis_px,minor_axis_px,orientation_deg,eccentricity,solidity,euler_number,touches_border," +
        "area_um2,centroid_x_um,centroid_y_um,bbox_x_um,bbox_y_um,bbox_width_um,bbox_height_um,perimeter_um," +
        "equivalent_diameter_um,major_axis_um,minor_axis_um",
      "0,1,cell,8,1.5,1.5,0,0,3,3,8,3.191538243,3.464101615,3.464101615,45,0,0.8888888889,0,true," +
        "1,0.75,0.375,0,0,1.5,0.75,nan,1.128379167,1.732050808,0.8660254038",
      "0,2,cell,4,5.25,1.75,4,0,2,3,3.207106781,2.256758334,3.464101615,1.414213562,71.56505118,0.9128709292,0.8,1,true," +
        "0.5,2.625,0.4375,2,0,1,0.75,nan,0.7978845608,1.046446287,0.5851924208",
      "",
    ].join("\r\n"),
  );
});

test("GeoJSON has the polygons and ids of the service", () => {
  const [ring, hook] = JSON.parse(joinFeatures([featuresOf(PAGE, FACTS)])).features;
  assert.equal(ring.id, "cb4a15d6-ed13-54d0-bc05-cf3b35c33fa2");
  assert.deepEqual(ring.geometry.coordinates, [
    [[0, 0], [0, 3], [3, 3], [3, 0], [0, 0]],
    [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]],
  ]);
  assert.equal(hook.id, "ff63b1b6-5a5a-5117-8148-e2cf1eb3b965");
  assert.deepEqual(hook.properties, {
    objectType: "annotation",
    object_id: 2,
    area: 4,
    classification: { name: "cell", color: [0, 158, 115] },
    measurements: { "Area px^2": 4, "Area µm^2": 0.5 },
    area_um2: 0.5,
  });
});

test("features of a stack have their page and plane", () => {
  const facts = { ...FACTS, pages: 2, places: [{ z: 0, t: 3 }, { z: 1, t: 3 }], channel: 1, hasChannels: true };
  const [, { geometry, properties }] = featuresOf({ ...PAGE, index: 1 }, facts);
  assert.deepEqual([geometry.plane, properties.page], [{ c: 1, z: 1, t: 3 }, 1]);
});

test("COCO has the run lengths of the service", () => {
  const { width, height } = PAGE;
  const found = JSON.parse(joinAnnotations([{ width, height, annotations: annotationsOf(PAGE) }], FACTS));
  assert.deepEqual(found.images, [{ id: 1, file_name: "x.png", height: 4, width: 6 }]);
  assert.deepEqual(found.categories, [{ id: 255, name: "cell" }]);
  assert.deepEqual(found.annotations.map(({ segmentation, bbox }) => [segmentation.counts, bbox]), [
    ["031N0002<", [0, 0, 3, 3]],
    ["b01120", [4, 0, 2, 3]],
  ]);
});

test("run lengths of large images are several signs", () => {
  assert.equal(encodeCounts([0, 64_000_000]), "0PPTQm1");
  assert.equal(encodeCounts([5, 40, 70_000, 3, 63_929_952]), "5X1`[T2kN`Wkll1");
});

test("a ROI has the bytes of roifile", () => {
  const rois = unzipSync(joinRois([roisOf(PAGE, FACTS)]));
  const hook =
    "496f757400e508000000000400030006000600000000000000000000000000000000000000000000ff009e73000000000000000000000000" +
    "000000000000005800010001000000000002000200000002000200030003000000000000000000000000000000000000000000980000000a" +
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000630065006c006c002d00300030003000" +
    "300032";
  assert.deepEqual(Object.keys(rois), ["255-00001.roi", "255-00002.roi"]);
  assert.equal(Buffer.from(rois["255-00002.roi"]).toString("hex"), hook);
});

test("holes that meet at a corner have rings of their own", () => {
  const [rings] = outlineObjects(pageOf("####", "#.##", "##.#", "####").labels, 4).of(0);
  assert.deepEqual(rings.map((ring) => [...ring]), [
    [0, 0, 0, 4, 4, 4, 4, 0],
    [1, 1, 2, 1, 2, 2, 1, 2],
    [2, 2, 3, 2, 3, 3, 2, 3],
  ]);
});

test("an object in parts has a polygon for each, and one ROI", () => {
  const labels = { ids: Int32Array.from([1, 0, 2, 0, 1, 0]), count: 2 };
  const page = { index: 0, width: 3, labels, classes: [255, 255], shapes: { area: [2, 1] } };
  const [both, single] = featuresOf(page, FACTS);
  assert.deepEqual(both.geometry, {
    type: "MultiPolygon",
    coordinates: [[[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]], [[[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]]],
  });
  assert.equal(single.geometry.type, "Polygon");
  assert.deepEqual(roisOf(page, FACTS).map(([name]) => name), ["255-00001.roi", "255-00002.roi"]);
});

test("numbers are written as Python writes ten digits", () => {
  const texts = { 0: "0", "-2.5": "-2.5", 0.3333333333333333: "0.3333333333", 1e-5: "1e-05", 0.0001: "0.0001" };
  for (const [value, text] of Object.entries(texts)) assert.equal(formatNumber(Number(value)), text);
  assert.equal(formatNumber(123456789012), "1.23456789e+11");
  assert.equal(formatNumber(9999999999.5), "1e+10");
  assert.equal(formatNumber(NaN), "nan");
});

test("the mask keeps specks unless a smallest object was chosen", () => {
  const [data, labels] = [Uint16Array.from([9, 9, 0, 9]), { ids: [1, 1, 0, 0], count: 1, mask: [1, 1, 0, 0] }];
  const page = { data, width: 4, level: 5, rule: RULE, dropsSpecks: false, corrected: null, labels };
  assert.deepEqual([...maskToWrite(page)], [255, 255, 0, 255]);
  assert.deepEqual([...maskToWrite({ ...page, dropsSpecks: true })], [255, 255, 0, 0]);
  assert.deepEqual([...maskToWrite({ ...page, level: null, dropsSpecks: true })], [9, 9, 0, 0]);
});

test("a corrected mask is written by its kind", () => {
  const write = (kind, values) => [...maskToWrite({ corrected: { kind, values } })];
  assert.deepEqual(write("mask", [0, 1]), [0, 255]);
  assert.deepEqual(write("instances", [0, 700]), [0, 255]);
  assert.deepEqual(write("classes", [1, 2]), [1, 2]);
});

test("a table of grey and colour pages has the grey in each colour", () => {
  const data = Uint8Array.from({ length: 24 }, (_, index) => index);
  const grey = describeIntensities(PAGE.labels, { channels: 1, data });
  const rgb = describeIntensities(PAGE.labels, { channels: 3, data: Uint8Array.from([...data, ...data, ...data]) });
  const parts = [grey, rgb].map((intensities) => measurePage({ ...PAGE, intensities }, FACTS));
  const [names, first] = joinTables(parts).split("\r\n").map((line) => line.split(","));
  assert.deepEqual(names.slice(-4), ["mean_intensity_blue", "std_intensity_blue", "min_intensity_blue", "max_intensity_blue"]);
  assert.equal(first[names.indexOf("max_intensity_red")], "14");
  assert.equal(first.at(-1), "14");
});

test("what cannot be made is named, and the rest is made", async () => {
  const { files, problems, notes } = await makeFiles(["overlay", "table", "mask"], FACTS, async () => PAGE);
  assert.deepEqual(files.map(({ kind, suffix }) => [kind, suffix]), [["table", ".csv"], ["mask", ".png"]]);
  assert.match(problems[0].message, /cannot read the image as stored/);
  assert.match(notes[0], /no intensities/);
});

test("too many objects for a table are an error", () => {
  assert.throws(() => measurePage({ ...PAGE, labels: { ...PAGE.labels, count: 70_000 } }, FACTS), /70000 objects, more than 65535/);
});

test("tables are joined by their columns", () => {
  const joined = joinCsv([
    { image: "a, b.png", text: 'page,class,area_px\r\n0,"x ""y"", z",4\r\n' },
    { image: "c.tif", text: "page,class,area_um2\r\n1,cell,\r\n" },
  ]);
  assert.equal(
    joined,
    'file,page,class,area_px,area_um2\r\n"a, b.png",0,"x ""y"", z",4,\r\nc.tif,1,cell,,\r\n',
  );
});

// @ts-check
// Objects as GeoJSON polygons in pixel coordinates, as model/outputs/geojson.py.

import uuid from "../vendor/uuid/v5.js";
import { colourOfClass, labelOf } from "./facts.js";
import { outlineObjects } from "./rings.js";

const NAMESPACE = "5f3b7a4e-6d0c-4e5e-9c55-0d1f1c9a6b21"; // that of the service: equal objects have equal ids

/**
 * The features of a page, in the order of the objects' ids.
 *
 * @param {import("./facts.js").OutputPage} page
 * @param {import("./facts.js").Facts} facts
 */
export function featuresOf(page, facts) {
  const outlines = outlineObjects(page.labels, page.width);
  return Array.from(page.classes, (_, object) => featureOf(object, outlines.of(object), page, facts));
}

/** @param {any[][]} pages features of each page */
export function joinFeatures(pages) {
  return JSON.stringify({ type: "FeatureCollection", features: pages.flat() });
}

function featureOf(object, polygons, { index, classes, shapes }, facts) {
  const [value, area] = [classes[object], shapes.area[object]];
  const [x, y] = polygons[0][0];
  const properties = {
    objectType: "annotation",
    object_id: object + 1,
    area,
    classification: { name: labelOf(facts, value), color: colourOfClass(value) },
    measurements: { "Area px^2": area },
  };
  if (facts.pixelSize) {
    properties.area_um2 = area * facts.pixelSize.x * facts.pixelSize.y;
    properties.measurements["Area µm^2"] = properties.area_um2;
  }
  const [first, ...others] = polygons.map((rings) => rings.map(closed));
  /** @type {any} */
  const geometry = { type: "Polygon", coordinates: first };
  if (others.length) Object.assign(geometry, { type: "MultiPolygon", coordinates: [first, ...others] });
  if (facts.pages > 1) {
    properties.page = index;
    geometry.plane = planeOf(index, facts);
  }
  // Python writes the corner as a tuple of floating-point numbers
  const id = uuid(`${index} ${object + 1} ${area} (${x.toFixed(1)}, ${y.toFixed(1)})`, NAMESPACE);
  return { type: "Feature", id, geometry, properties };
}

/** QuPath's plane of a page; -1 stands for all channels. */
function planeOf(index, { channel, places }) {
  const { z, t } = places[index] ?? { z: index, t: 0 };
  return { c: channel ?? -1, z, t };
}

/** `[x, y]` of each corner, and of the first one again. */
function closed(ring) {
  const corners = Array.from({ length: ring.length / 2 }, (_, corner) => [ring[2 * corner], ring[2 * corner + 1]]);
  return [...corners, corners[0]];
}

// @ts-check
// Measurements of objects as a table, with the columns of model/outputs/table.py.

import { checkCount, labelOf } from "./facts.js";
import { countConvex, countEuler, measureEllipses, measureMoments, measurePerimeters } from "./forms.js";

const DIGITS = 10; // significant ones
const COLOURS = ["red", "green", "blue"];

/**
 * The columns of a page: names, and values that `formatCell` knows.
 *
 * @typedef {Record<string, ArrayLike<any>>} Table
 */

/**
 * Measures the objects of a page. Columns end in their unit.
 *
 * @param {import("./facts.js").OutputPage} page
 * @param {import("./facts.js").Facts} facts
 * @returns {{ columns: Table, intensities: import("../measurements.js").Intensities[] | null }}
 */
export function measurePage(page, facts) {
  const { labels, width, shapes, classes, intensities } = page;
  checkCount(labels.count);
  const moments = measureMoments(labels, width, shapes);
  const ellipses = measureEllipses(moments);
  const sizes = sizesOf(shapes, ellipses, measurePerimeters(labels, width));
  const convex = countConvex(labels, width, shapes);
  const constant = (value) => new Array(labels.count).fill(value);
  const place = facts.places.length > 1 ? facts.places[page.index] : null;
  const columns = {
    page: constant(page.index),
    ...(place ? { z: constant(place.z), t: constant(place.t) } : {}),
    label: Array.from(classes, (_, object) => object + 1),
    class: Array.from(classes, (value) => labelOf(facts, value)),
    ...renamed(sizes, (name) => `${name}_px`),
    orientation_deg: ellipses.orientation,
    eccentricity: ellipses.eccentricity,
    solidity: Float64Array.from(shapes.area, (area, object) => area / convex[object]),
    euler_number: countEuler(labels, width),
    touches_border: Array.from(shapes.touchesBorder, Boolean),
    ...(facts.pixelSize ? calibrated(sizes, moments, facts.pixelSize) : {}),
  };
  return { columns, intensities };
}

/**
 * Joins the tables of all pages. Intensities are left out if those of a page are unknown.
 *
 * @param {ReturnType<typeof measurePage>[]} pages
 * @returns {string} CSV (RFC 4180)
 */
export function joinTables(pages) {
  const count = pages.reduce((sum, { columns }) => sum + columns.label.length, 0);
  checkCount(count);
  const tables = withIntensities(pages);
  const names = Object.keys(tables[0]);
  const lines = [names.map(quote).join()];
  for (const table of tables) {
    const columns = names.map((name) => table[name]);
    for (let row = 0; row < table.label.length; row++) {
      lines.push(columns.map((column) => formatCell(column[row], column instanceof Float64Array)).join());
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

function sizesOf({ area, x, y, left, top, boxWidth, boxHeight }, { major, minor }, perimeter) {
  return {
    area,
    centroid_x: x,
    centroid_y: y,
    bbox_x: left,
    bbox_y: top,
    bbox_width: boxWidth,
    bbox_height: boxHeight,
    perimeter,
    equivalent_diameter: Float64Array.from(area, diameterOf),
    major_axis: major,
    minor_axis: minor,
  };
}

/** Areas and lengths in micrometres; there is no perimeter of pixels that are not square. */
function calibrated(sizes, moments, { x, y }) {
  const lengths = { ...sizes };
  delete lengths.area;
  const scaleOf = (name) => (/_(y|height)$/.test(name) ? y : x);
  const table = { area_um2: Float64Array.from(sizes.area, (area) => area * (x * y)) };
  for (const [name, values] of Object.entries(lengths)) {
    table[`${name}_um`] = Float64Array.from(values, (value) => value * scaleOf(name));
  }
  if (x === y) return table;
  const { major, minor } = measureEllipses(moments, x, y);
  return {
    ...table,
    perimeter_um: table.perimeter_um.fill(NaN),
    equivalent_diameter_um: table.area_um2.map(diameterOf),
    major_axis_um: major,
    minor_axis_um: minor,
  };
}

/** The diameter of a circle of this area. */
function diameterOf(area) {
  return Math.sqrt((4 * area) / Math.PI);
}

/** The pages' columns, with those of intensities. If a page has colours, the colours of a grey page are its grey. */
function withIntensities(pages) {
  if (pages.some(({ intensities }) => !intensities)) return pages.map(({ columns }) => columns);
  const hasColours = pages.some(({ intensities }) => intensities.some(({ name }) => name === COLOURS[0]));
  return pages.map(({ columns, intensities }) => {
    const isGrey = intensities.length === 1 && intensities[0].name === "";
    const spread = hasColours && isGrey ? COLOURS.map((name) => ({ ...intensities[0], name })) : intensities;
    return Object.assign({ ...columns }, ...spread.map(intensityColumns));
  });
}

function intensityColumns({ name, mean, std, min, max }) {
  return renamed({ mean, std, min, max }, (figure) => `${figure}_intensity${name && `_${name}`}`);
}

function renamed(columns, rename) {
  return Object.fromEntries(Object.entries(columns).map(([name, values]) => [rename(name), values]));
}

function formatCell(value, isFloat) {
  if (typeof value === "string") return quote(value);
  return isFloat ? formatNumber(value) : String(value);
}

/** A number as Python's format `.10g` writes it. */
export function formatNumber(value) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const [mantissa, exponent] = value.toExponential(DIGITS - 1).split("e");
  const power = Number(exponent);
  if (power < -4 || power >= DIGITS) {
    const digits = String(Math.abs(power)).padStart(2, "0");
    return `${withoutZeros(mantissa)}e${power < 0 ? "-" : "+"}${digits}`;
  }
  return withoutZeros(value.toFixed(DIGITS - 1 - power));
}

function withoutZeros(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A cell of CSV, in quotes if it needs them. */
export function quote(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// @ts-check
// Columns of the table of objects: titles, values, and texts.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ONE_DECIMAL = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const FOUR_DIGITS = new Intl.NumberFormat("en", { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {ArrayLike<number>} values one for each object
 * @property {(value: number) => string} text
 */

/**
 * The columns of objects as worker.js measures them.
 *
 * @param {any} found
 * @param {{ x: number, y: number } | null} pixelSize micrometres
 * @param {Record<number, string> | null} labels the meaning of the classes, if there are several
 * @returns {Column[]}
 */
export function columnsOf(found, pixelSize, labels) {
  const { shapes, classes, intensities } = found;
  /** @type {Column[]} */
  const columns = [{ title: "Label", values: Uint32Array.from(shapes.area, (_, object) => object + 1), text: String }];
  if (labels) columns.push({ title: "Class", values: classes, text: (value) => labels[value] ?? String(value) });
  columns.push({ title: "Area px", values: shapes.area, text: whole });
  if (pixelSize) {
    const values = Float64Array.from(shapes.area, (area) => area * pixelSize.x * pixelSize.y);
    columns.push({ title: "Area µm²", values, text: fourDigits });
  }
  columns.push(
    { title: "x px", values: shapes.x, text: oneDecimal },
    { title: "y px", values: shapes.y, text: oneDecimal },
    { title: "Box width", values: shapes.boxWidth, text: whole },
    { title: "Box height", values: shapes.boxHeight, text: whole },
  );
  for (const { name, values } of intensities) {
    columns.push({ title: name ? `Mean ${name}` : "Mean intensity", values, text: fourDigits });
  }
  columns.push({ title: "At border", values: shapes.touchesBorder, text: (value) => (value ? "yes" : "no") });
  return columns;
}

/**
 * Sorts objects by a column; NaN is last, and equal values keep the order of their labels.
 *
 * @param {ArrayLike<number>} values one for each object
 * @param {boolean} isDescending
 * @param {(object: number) => boolean} isIncluded chooses objects by their index
 * @returns {number[]} indices of objects
 */
export function sortObjects(values, isDescending, isIncluded) {
  const objects = Array.from(values, (_, object) => object).filter(isIncluded);
  const sign = isDescending ? -1 : 1;
  const compare = (first, second) =>
    Number(Number.isNaN(values[first])) - Number(Number.isNaN(values[second])) ||
    sign * (values[first] - values[second]) ||
    first - second;
  return objects.sort(compare);
}

const whole = (value) => WHOLE.format(value);
const oneDecimal = (value) => ONE_DECIMAL.format(value);

/** Four digits, or more if there are more before the decimal point. */
function fourDigits(value) {
  if (Number.isNaN(value)) return "–";
  return Math.abs(value) >= 1000 ? whole(value) : FOUR_DIGITS.format(value);
}

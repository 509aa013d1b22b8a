// @ts-check
// Areas of objects in words and as a histogram.

const SVG = "http://www.w3.org/2000/svg";
const BINS_A_DECADE = 6;
const COMPACT = new Intl.NumberFormat("en", { notation: "compact" });

export const number = (value) => Math.round(value).toLocaleString("en");

/** `areas` and `pixels` as worker.js gives them -> `{ count, median, share, text }`; the text says it all. */
export function summarise(areas, pixels) {
  const sorted = Uint32Array.from(areas).sort();
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const share = areas.reduce((sum, area) => sum + area, 0) / pixels;
  if (!sorted.length) return { count: 0, median: null, share, text: "No objects at this threshold." };
  const text =
    `${number(sorted.length)} object${sorted.length > 1 ? "s" : ""}, ${percent(share)} of the image. ` +
    `Areas from ${number(sorted[0])} to ${number(at(1))} pixels; the middle half from ${number(at(0.25))} to ${number(at(0.75))}.`;
  return { count: sorted.length, median: at(0.5), share, text };
}

export function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/** How many areas fall between one edge and the next; the edges grow by equal factors, from 1 to past the largest. */
export function histogram(areas) {
  const largest = areas.reduce((most, area) => Math.max(most, area), 1);
  const decades = Math.floor(Math.log10(largest)) + 1;
  const counts = new Array(decades * BINS_A_DECADE).fill(0);
  for (const area of areas) counts[Math.min(counts.length - 1, Math.floor(Math.log10(area) * BINS_A_DECADE + 1e-9))]++;
  return { counts, decades };
}

/**
 * The areas that fall between the edges of columns of the histogram.
 *
 * @param {number} first index of a column
 * @param {number} last
 */
export function areasOfBins(first, last) {
  const edge = (column) => Math.ceil(10 ** (column / BINS_A_DECADE) - 1e-6);
  return { least: edge(first), most: edge(last + 1) - 1 };
}

/**
 * Draws the histogram into an SVG element.
 *
 * @param {SVGElement} svg
 * @param {Uint32Array} areas pixels
 * @param {string} text description of the histogram for screen readers
 * @param {{ least: number, most: number } | null} [chosen] a range of areas; columns outside of it are paler
 */
export function drawHistogram(svg, areas, text, chosen = null) {
  const [width, height, foot] = [300, 110, 22];
  const { counts, decades } = histogram(areas);
  const most = Math.max(...counts, 1);
  const step = width / counts.length;
  const bars = counts.map((count, index) => {
    const tall = count ? Math.max(2, (count / most) * (height - foot - 4)) : 0;
    const bin = areasOfBins(index, index);
    const isOutside = chosen && (bin.most < chosen.least || bin.least > chosen.most);
    return make("rect", { class: isOutside ? "column outside" : "column", x: index * step + 1, y: height - foot - tall, width: step - 2, height: tall });
  });
  const axis = make("line", { class: "axis", x1: 0, x2: width, y1: height - foot + 0.5, y2: height - foot + 0.5 });
  const labels = Array.from({ length: decades + 1 }, (_, decade) => {
    const anchor = decade === 0 ? "start" : decade === decades ? "end" : "middle";
    const label = make("text", { x: (decade / decades) * width, y: height - 6, "text-anchor": anchor });
    label.textContent = COMPACT.format(10 ** decade);
    return label;
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", `Histogram of areas. ${text}`);
  svg.replaceChildren(...bars, axis, ...labels);
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

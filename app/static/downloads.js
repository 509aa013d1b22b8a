// @ts-check
// A button for each output of the service.

import { queryOf, segment } from "./api.js";
import { saveFile } from "./save_file.js";

const OUTPUTS = [
  ["mask", "Mask", "PNG"],
  ["probability", "Probability", "PNG, 16 bits"],
  ["instances", "Instances", "PNG, 16 bits"],
  ["overlay", "Overlay", "PNG, RGB"],
  ["geojson", "GeoJSON", "for QuPath"],
  ["coco", "COCO", "JSON"],
  ["table", "Table", "CSV"],
  ["rois", "ImageJ ROIs", "ZIP"],
];

/**
 * `[parameters, title, format]` of each button; with several classes, one probability for each class.
 *
 * @returns {[Record<string, string | number>, string, string][]}
 */
function choices(labels, classes) {
  if (classes === 1) return OUTPUTS.map(([output, title, format]) => [{ output }, title, format]);
  return OUTPUTS.flatMap(([output, title, format]) => {
    if (output !== "probability") return [[{ output }, title, format]];
    return Array.from({ length: classes }, (_, index) => [
      { output, class: index },
      `Probability of ${labels[index] ?? index}`,
      format,
    ]);
  });
}

/**
 * Fills `frame`. `current()` gives the entry and the chosen parameters, `threshold` and `min_area`, null for a stored one;
 * `onProblem(problem or null)`.
 */
export function makeDownloads(frame, { labels, classes, current, onProblem }) {
  frame.replaceChildren();
  for (const [parameters, title, format] of choices(labels, classes)) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.output = String(parameters.output);
    button.append(title, small(format));
    button.addEventListener("click", async () => {
      const { entry, ...chosen } = current();
      button.disabled = true;
      onProblem(null);
      try {
        const { channel } = entry;
        const { blob, name } = await fileOf(entry, { ...parameters, channel, ...(parameters.output === "probability" ? {} : chosen) });
        saveFile(blob, name);
      } catch (problem) {
        onProblem(problem);
      }
      button.disabled = false;
    });
    frame.append(button);
  }
}

/** The bytes that curl gets: those that came already, or by a request of their own. */
async function fileOf(entry, parameters) {
  const wanted = Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== null));
  return queryOf(wanted) === queryOf(entry.parameters) ? entry.result : segment(entry.file, wanted);
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

// @ts-check
// A button for each output of the service, made from what the page has already.

import { segment } from "./api.js";
import { makeButton } from "./dom.js";
import { stemOf } from "./names.js";
import { makeOutputs } from "./output_files.js";
import { saveFile } from "./save_file.js";

/** `[kind, title, format]` of each output, in the order of the buttons. */
export const OUTPUTS = [
  ["mask", "Mask", "PNG"],
  ["probability", "Probability", "PNG, 16 bits"],
  ["instances", "Instances", "PNG, 16 bits"],
  ["overlay", "Overlay", "PNG, RGB"],
  ["geojson", "GeoJSON", "for QuPath"],
  ["coco", "COCO", "JSON"],
  ["table", "Table", "CSV"],
  ["rois", "ImageJ ROIs", "ZIP"],
];
const DRAWN = "The service drew this overlay, because this browser cannot read the image as stored.";

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
 * Fills `frame`.
 *
 * @param {HTMLElement} frame
 * @param {object} options
 * @param {any} options.model as GET /model describes it
 * @param {() => any} options.current gives the entry and the settings, see output_files.js
 * @param {(problem: Error | null, note: string) => void} options.onDone called with what went wrong, and with what the
 *   person should know of the file
 */
export function makeDownloads(frame, { model, current, onDone }) {
  const { labels, architecture } = model;
  frame.replaceChildren();
  for (const [parameters, title, format] of choices(labels, architecture.classes)) {
    const button = makeButton(title, async () => {
      button.disabled = true;
      onDone(null, "");
      try {
        const { blob, name, note } = await fileOf(parameters, current());
        saveFile(blob, name);
        onDone(null, note);
      } catch (problem) {
        onDone(problem, "");
      }
      button.disabled = false;
    });
    button.dataset.output = String(parameters.output);
    button.append(small(format));
    frame.append(button);
  }
}

/**
 * A file and its name. The service makes only what the page cannot: probabilities of classes, and pictures it cannot read.
 *
 * @param {Record<string, any>} parameters
 * @param {{ entry: any } & import("./output_files.js").Settings} current
 */
async function fileOf(parameters, { entry, ...settings }) {
  const kind = parameters.output;
  const asked = { model: entry.parameters.model, ...parameters, channel: entry.channel };
  if ("class" in parameters) return { ...(await segment(entry.file, present(asked))), note: "" };
  const { files, problems, notes } = await makeOutputs(entry, [kind], settings);
  if (files.length) return { blob: files[0].blob, name: stemOf(entry.result) + files[0].ending, note: notes.join(" ") };
  if (kind !== "overlay" || entry.corrections.size) throw new Error(problems[0].message);
  const { threshold, min_area } = settings;
  return { ...(await segment(entry.file, present({ ...asked, threshold, min_area }))), note: DRAWN };
}

/** The parameters that are not null. */
function present(parameters) {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== null));
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

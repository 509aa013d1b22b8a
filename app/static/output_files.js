// @ts-check
// The outputs of an image, made by a worker from the result that came already.

import { channelIndex } from "./channels.js";
import { askForOutputs } from "./decoder.js";
import { levelOf } from "./mask.js";
import { imageNameOf, stemOf } from "./names.js";
import { isCountedHere } from "./objects.js";
import { askForIds } from "./service_ids.js";

/**
 * @typedef {object} Settings that decide what is foreground and what is an object
 * @property {any} model as GET /model describes it
 * @property {number | null} threshold null for the stored one
 * @property {number | null} min_area pixels; null for the stored number
 *
 * @typedef {{ kind: string, ending: string, blob: Blob }} File of an output; its name is the image's stem and the ending
 */

/**
 * Makes outputs of an image that is done. A request is sent only for ids that the page cannot find. Throws Problem.
 *
 * @param {any} entry of the queue
 * @param {string[]} kinds
 * @param {Settings} settings
 * @returns {Promise<{ files: File[], problems: { kind: string, message: string }[], notes: string[] }>} see outputs/make.js
 */
export async function makeOutputs(entry, kinds, settings) {
  const made = kinds.filter((kind) => kind !== "probability");
  const { files, problems, notes } = await askForOutputs("outputs", await requestOf(entry, made, settings));
  const named = files.map(({ kind, suffix, blob }) => ({ kind, ending: `_${kind}${suffix}`, blob }));
  if (made.length < kinds.length) named.push(probabilityOf(entry.result));
  return { files: named, problems, notes };
}

/** The probabilities of a net of one class are the result itself. */
function probabilityOf({ name, blob }) {
  return { kind: "probability", ending: name.slice(stemOf({ name }).length), blob };
}

/** The corrected values of pages, without their edits. */
function correctionsOf({ corrections }) {
  return new Map(Array.from(corrections, ([index, { kind, values }]) => [index, { kind, values }]));
}

/** @returns {Promise<import("./outputs/page.js").Request>} */
async function requestOf(entry, kinds, { model, threshold, min_area }) {
  const { result, file } = entry;
  const isOneClass = model.architecture.classes === 1;
  const cut = threshold ?? model.threshold; // written out, as the views ask for ids
  const rule = { objects: model.objects, min_area: min_area ?? model.min_area };
  const needsObjects = min_area !== null || kinds.some((kind) => kind !== "mask");
  const isAsked = needsObjects && !isCountedHere(rule, isOneClass);
  return {
    kinds,
    result: { key: `${entry.id}-result-${entry.results}`, blob: result.blob },
    instances: isAsked ? await askForIds(entry, { threshold: isOneClass ? cut : null, min_area }) : null,
    image: { key: `${entry.id}-image`, blob: file },
    filePages: result.filePages,
    channelPages: result.channelPages,
    channels: result.channels,
    level: isOneClass ? levelOf(cut) : null,
    rule,
    dropsSpecks: min_area !== null,
    corrections: correctionsOf(entry),
    facts: {
      name: imageNameOf(entry),
      labels: model.labels,
      pixelSize: result.pixelSize && { ...result.pixelSize, z: result.spacing },
      places: result.places,
      channel: result.channels.length ? channelIndex(result.channels, entry.channel) : null,
      hasChannels: result.channels.length > 1 || result.channelPages.length > 1,
    },
  };
}

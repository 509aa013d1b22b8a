// @ts-check
// Ids of objects that the service finds, for rules that the page does not know, see `isCountedHere`.

import { segment } from "./api.js";

const KEPT = 4; // answers of an image

/**
 * Asks for the ids of an image, once for the same parameters. Throws Problem.
 *
 * @param {any} entry of the queue
 * @param {{ threshold: number | null, min_area: number | null }} chosen null for the numbers that are stored with the net; a
 *   stored threshold that is written out is asked for on its own
 * @returns {Promise<{ key: string, blob: Blob }>} the ids in 16 bits, and a name for the decoder
 */
export async function askForIds(entry, { threshold, min_area }) {
  const chosen = Object.entries({ threshold, min_area, channel: entry.channel }).filter(([, value]) => value !== null);
  const parameters = { model: entry.parameters.model, output: "instances", ...Object.fromEntries(chosen) };
  const key = `${entry.id}-instances-${entry.results}-${JSON.stringify(parameters)}`;
  const answers = entry.serviceIds;
  if (!answers.has(key)) {
    if (answers.size >= KEPT) answers.delete(answers.keys().next().value);
    answers.set(key, segment(entry.file, parameters, { signal: entry.leaving.signal }));
    answers.get(key).catch(() => answers.delete(key));
  }
  return { key, blob: (await answers.get(key)).blob };
}

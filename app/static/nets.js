// @ts-check
// The nets that the service serves: the chosen one, and what is known of each.

import { labelOf } from "./api.js";

/**
 * @typedef {object} Served as GET /models describes the nets
 * @property {string} default name of the net of requests that name none
 * @property {any[]} models each as GET /model describes it
 */

/**
 * The net of a name; the default net if no net has the name.
 *
 * @param {Served} served
 * @param {string | null} name null for the default net
 */
export function findNet({ models, default: usual }, name) {
  return models.find((model) => model.name === name) ?? models.find((model) => model.name === usual);
}

/**
 * A text that differs if a net was added, removed or replaced, or if another net became the default.
 *
 * @param {Served} served
 */
export function signatureOf({ models, default: usual }) {
  return [usual, ...models.map(labelOf)].join(" ");
}

/**
 * The nets whose names were not served before.
 *
 * @param {Served} served
 * @param {Served} before
 */
export function findAdded({ models }, before) {
  return models.filter(({ name }) => before.models.every((model) => model.name !== name));
}

/** One sentence on what a net finds. */
export function purposeOf({ card, labels }) {
  if (card?.segments) return card.segments;
  return `Distinguishes ${new Intl.ListFormat("en").format(Object.values(labels))}.`;
}

/**
 * What is known of a net besides its purpose.
 *
 * @returns {[string, string][]} terms and texts
 */
export function factsOf(model) {
  const { card, labels, architecture } = model;
  /** @type {[string, string][]} */
  const facts = [
    ["Images", [card?.modality, describeInput(model)].filter(Boolean).join("; ")],
    ["Pixel", card?.pixel_size_um ? describeLength(card.pixel_size_um) : ""],
    ["Classes", architecture.classes > 1 && card?.segments ? Object.values(labels).join(", ") : ""],
    ["Not for", card?.not_for ?? ""],
  ];
  return facts.filter(([, text]) => text);
}

function describeInput({ preprocessing, input_channels }) {
  if (preprocessing.channels === "grey") return "grey, or colours converted to grey";
  return preprocessing.channels === "rgb" ? "colour" : `${input_channels} channels`;
}

/** @param {number} length micrometres */
function describeLength(length) {
  const digits = { maximumSignificantDigits: 3 };
  return length < 0.1 ? `${(1000 * length).toLocaleString("en", digits)} nm` : `${length.toLocaleString("en", digits)} µm`;
}

const DOUBT = /The image looks unlike the images that \S+ was trained on\b.*?\.(?= [A-Z]|$)/;
const SUGGESTION = /Nets that were trained on such images: (.*?)\.(?= [A-Z]|$)/;

/**
 * The parts of a notice of the service: the doubt whether the image suits the net, names of nets that suit the image, and the
 * other sentences.
 *
 * @param {string} notice the header X-Notice
 * @returns {{ doubt: string, suited: string[], rest: string }}
 */
export function splitDoubt(notice) {
  const [doubt = ""] = notice.match(DOUBT) ?? [];
  const [suggestion = "", names = ""] = notice.match(SUGGESTION) ?? [];
  const rest = notice.replace(doubt, "").replace(suggestion, "").replace(/ {2,}/g, " ").trim();
  return { doubt, suited: names ? names.split(", ") : [], rest };
}

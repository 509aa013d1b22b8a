// @ts-check
// The files of an image: each kind of output takes a part of each page, and joins the parts to a file.

import { annotationsOf, joinAnnotations } from "./coco.js";
import { featuresOf, joinFeatures } from "./geojson.js";
import { idsOf } from "./masks.js";
import { drawOverlay } from "./overlay.js";
import { joinPages, packPage } from "./picture_file.js";
import { joinRois, roisOf } from "./rois.js";
import { joinTables, measurePage } from "./table.js";

/**
 * @typedef {object} OutputFile
 * @property {string} kind
 * @property {string} suffix with its dot
 * @property {Blob} blob
 */

const NO_PICTURE = "This browser cannot read the image as stored, so there is no overlay.";
const NO_INTENSITIES = "The table has no intensities, because this browser cannot read the image as stored.";

const KINDS = {
  mask: {
    part: ({ width, height, mask }, { pages }) => packPage({ width, height, channels: 1, data: mask }, pages),
    join: joinPages,
  },
  instances: { part: (page, { pages }) => packPage(idsOf(page), pages), join: joinPages },
  overlay: {
    part(page, { pages }) {
      if (!page.image) throw new Error(NO_PICTURE);
      return packPage(drawOverlay(page), pages);
    },
    join: joinPages,
  },
  geojson: { part: featuresOf, join: (parts) => ({ bytes: joinFeatures(parts), suffix: ".geojson" }) },
  coco: {
    part: (page) => ({ width: page.width, height: page.height, annotations: annotationsOf(page) }),
    join: (parts, facts) => ({ bytes: joinAnnotations(parts, facts), suffix: ".json" }),
  },
  table: { part: measurePage, join: (parts) => ({ bytes: joinTables(parts), suffix: ".csv" }) },
  rois: { part: roisOf, join: (parts) => ({ bytes: joinRois(parts), suffix: ".zip" }) },
};

/**
 * Makes files of the pages of an image, one page at a time.
 *
 * @param {string[]} kinds
 * @param {import("./facts.js").Facts} facts
 * @param {(index: number) => Promise<import("./facts.js").OutputPage>} pageOf
 * @returns {Promise<{ files: OutputFile[], problems: { kind: string, message: string }[], notes: string[] }>} `problems`:
 *   kinds that could not be made; `notes`: what a file lacks
 */
export async function makeFiles(kinds, facts, pageOf) {
  const makers = kinds.map((kind) => ({ kind, parts: [], problem: null, ...KINDS[kind] }));
  let hasIntensities = true;
  for (let index = 0; index < facts.pages; index++) {
    const page = await pageOf(index);
    hasIntensities &&= page.intensities !== null;
    for (const maker of makers) await attempt(maker, async () => maker.parts.push(await maker.part(page, facts)));
  }
  const files = [];
  for (const maker of makers) await attempt(maker, () => files.push(fileOf(maker, facts)));
  const problems = makers.filter(({ problem }) => problem).map(({ kind, problem }) => ({ kind, message: problem.message }));
  const lacksIntensities = !hasIntensities && files.some(({ kind }) => kind === "table");
  return { files, problems, notes: lacksIntensities ? [NO_INTENSITIES] : [] };
}

/** Calls `work` unless the maker failed before; remembers its error. */
async function attempt(maker, work) {
  if (maker.problem) return;
  try {
    await work();
  } catch (problem) {
    maker.problem = problem;
    maker.parts = [];
  }
}

function fileOf({ kind, parts, join }, facts) {
  const { bytes, suffix } = join(parts, facts);
  return { kind, suffix, blob: new Blob([bytes]) };
}

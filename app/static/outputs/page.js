// @ts-check
// Reads what outputs need of a page: its objects, its mask, and the values of its image.

import { classesOf, describeIntensities, measureShapes } from "../measurements.js";
import { foregroundOf, maskToWrite } from "./masks.js";

/**
 * @typedef {object} Request for the outputs of an image
 * @property {string[]} kinds
 * @property {Source} result
 * @property {Source | null} instances ids that the service found; null if the page finds the objects
 * @property {Source} image the image file
 * @property {(number | null)[] | null} filePages as in `Result` of api.js
 * @property {{ title: string, pages: (number | null)[] }[]} channelPages of all channels; none if there is one
 * @property {string[]} channels names of the channels that one is chosen of
 * @property {number | null} level see `maskToWrite`
 * @property {import("../objects.js").Rule} rule
 * @property {boolean} dropsSpecks
 * @property {Map<number, import("../objects.js").Corrected>} corrections of pages
 * @property {Omit<import("./facts.js").Facts, "pages">} facts
 *
 * @typedef {{ key: string, blob: Blob }} Source a file, with the name that the decoder keeps it under
 */

/**
 * @param {Request} request
 * @param {number} index of the page
 * @param {{ rasterOf: (page: Source & { index: number }) => Promise<any>, labelsOfPage: (page: any) => Promise<any> }} decoder
 * @returns {Promise<import("./facts.js").OutputPage>}
 */
export async function readPage(request, index, { rasterOf, labelsOfPage }) {
  const { instances, level, rule, dropsSpecks } = request;
  const corrected = request.corrections.get(index) ?? null;
  const result = { ...request.result, index };
  const { width, height, data } = await rasterOf(result);
  const found = { result, instances: instances && { ...instances, index }, level, rule, corrected };
  const { labels } = await labelsOfPage(found);
  const hasClasses = corrected ? corrected.kind === "classes" : level === null;
  const read = (page) => readImage(request.image, page, width, height, rasterOf);
  const image = hasSeveralInputs(request) ? null : await read(request.filePages ? request.filePages[index] : index);
  return {
    index,
    width,
    height,
    labels,
    classes: hasClasses ? classesOf(labels, labels.mask) : foregroundOf(labels.count),
    mask: maskToWrite({ data, width, level, rule, dropsSpecks, corrected, labels }),
    shapes: measureShapes(labels, width),
    image,
    intensities: request.kinds.includes("table") ? await measureChannels(request, index, labels, image, read) : null,
  };
}

/** Whether the net takes several channels of the file at once, which no picture of the file shows. */
export function hasSeveralInputs({ channelPages, channels }) {
  return channelPages.length > 0 && channels.length === 0;
}

/** Intensities of all channels of the file; null if one of them cannot be read as stored. */
async function measureChannels({ channelPages, channels }, index, labels, image, read) {
  if (!channelPages.length) return image && channels.length < 2 ? describeIntensities(labels, image) : null;
  const found = [];
  for (const { title, pages } of channelPages) {
    const raster = await read(pages[index]);
    if (raster?.channels !== 1) return null;
    found.push({ ...describeIntensities(labels, raster)[0], name: title });
  }
  return found;
}

/** A page of the image file; null if it cannot be read as stored, or differently from the service. */
async function readImage(image, index, width, height, rasterOf) {
  if (index === null) return null;
  const raster = await rasterOf({ ...image, index }).catch(() => null);
  const fits = raster && !raster.isConverted && raster.width === width && raster.data.length === width * height * raster.channels;
  return fits ? raster : null;
}

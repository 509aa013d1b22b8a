// @ts-check
// What takes long, beside the page: decoding, and looking for objects. Each message is a call of one of `calls`.

import { storesGrey } from "./grey.js";
import { chooseColours } from "./map_colouring.js";
import { classesOf, measureIntensities, measureShapes } from "./measurements.js";
import { findCorrectedObjects, findObjects } from "./objects.js";
import { packArchive } from "./outputs/archive.js";
import { makeFiles } from "./outputs/make.js";
import { readPage } from "./outputs/page.js";
import { PALETTE } from "./paint.js";
import { decodePng, encodePng, readHeader } from "./png.js";
import { isStretched, shrink, stepFor, toRgba } from "./raster.js";
import { dropSmall, findRegions } from "./regions.js";

const KEPT = 3; // an image, its result, and its instances
const opened = new Map(); // by key: promises of `{ pages, raster(index) }`
const decoded = new Map(); // by key and index: promises of rasters; the slider asks for the same ones again and again

const calls = {
  async pages({ key, blob }) {
    return { pages: (await open(key, blob)).pages };
  },

  /**
   * A page to look at, as RGBA; `size` is its true one, `width` and `height` are what is shown of it. `isKept`: it will
   * be asked for again.
   */
  async picture({ key, blob, index, most, side, contrast, isKept }) {
    const raster = await (isKept ? rasterOf({ key, blob, index }) : (await open(key, blob)).raster(index));
    const shown = shrink(raster, stepFor(raster.width, raster.height, most, side));
    return { ...sizes(raster, shown), data: toRgba(shown, contrast), isStretched: isStretched(raster) };
  },

  /** Likewise a result's values, as stored. */
  async values({ key, blob, index, most, side }) {
    const raster = await rasterOf({ key, blob, index });
    const shown = shrink(raster, stepFor(raster.width, raster.height, most, side));
    return { ...sizes(raster, shown), data: shown.data.slice() };
  },

  /**
   * Objects and their measurements, from all pixels of a page. `result`, `instances` and `image` are each
   * `{ key, blob, index }`. The result of a net of one class has a `level`, from which a pixel is foreground; otherwise
   * its values are classes. `instances`: null if the page finds the objects. `corrected`: null unless a person corrected
   * the mask. `image`: null if the intensities are unknown.
   * `ids` are for no more pixels than the limits, as in `values`, and so is `mask`: the mask without the objects that the
   * rule drops.
   */
  async objects({ result, instances, image, level, rule, corrected = null, most, side }) {
    const { width, height, labels } = await labelsOfPage({ result, instances, level, rule, corrected });
    const step = stepFor(width, height, most, side);
    const shown = shrink({ width, height, channels: 1, data: labels.ids }, step);
    return {
      count: labels.count,
      pixels: width * height,
      shapes: measureShapes(labels, width),
      classes: level === null ? classesOf(labels, labels.mask) : null,
      intensities: await intensitiesOf(labels, image, width),
      colours: chooseColours({ ids: shown.data, count: labels.count }, shown.width, PALETTE.length),
      seeds: seedsOf(labels),
      width: shown.width,
      ids: shown.data,
      mask: shrink({ width, height, channels: 1, data: labels.mask }, step).data,
    };
  },

  /** The mask of a page before it is corrected, in all pixels. Parameters as for `objects`; `kind`: see `Corrected`. */
  async correctable({ result, instances, level, rule, kind }) {
    const { width, labels } = await labelsOfPage({ result, instances, level, rule, corrected: null });
    return { kind, values: kind === "instances" ? labels.ids : labels.mask, width };
  },

  /**
   * A page as a pair to train on: PNG files of its label and of its image. Parameters as for `objects`; `kind`: see
   * `Corrected`; `isOneOfChannels`: the net got one channel of the file. `image` is null if the file is to be saved as it is.
   */
  async pair({ result, instances, image, level, rule, corrected, kind, isOneOfChannels }) {
    const { width, height, labels } = await labelsOfPage({ result, instances, level, rule, corrected });
    const label = await encodePng({ width, height, channels: 1, data: labelValues(labels, kind) });
    const pages = await open(image.key, image.blob).then((opened) => opened.pages, () => 1);
    const isWhole = pages === 1 && !isOneOfChannels;
    return { label, width, height, image: isWhole ? null : await encodePage(await rasterOf(image)) };
  },

  /**
   * Files of the chosen kinds for all pages of an image, see outputs/make.js.
   *
   * @param {import("./outputs/page.js").Request} request
   */
  async outputs(request) {
    const { pages } = await open(request.result.key, request.result.blob);
    return makeFiles(request.kinds, { ...request.facts, pages }, (index) => readPage(request, index, { rasterOf, labelsOfPage }));
  },

  /** Packs files, see outputs/archive.js. */
  async archive({ files, tables }) {
    return { blob: await packArchive(files, tables) };
  },
};

/** The values of a label by its kind: see `Corrected`. */
function labelValues({ ids, count, mask }, kind) {
  if (kind === "classes") return mask;
  if (kind === "mask") return mask.map((value) => (value ? 255 : 0));
  if (count > 65535) throw new Error("The label has more than 65,535 objects; PNG files number no more.");
  return count > 255 ? Uint16Array.from(ids) : Uint8Array.from(ids);
}

/** A page as a PNG file. */
async function encodePage(raster) {
  if (![Uint8Array, Uint8ClampedArray, Uint16Array].some((type) => raster.data instanceof type)) {
    throw new Error("The values of this page are not of 8 or 16 bits. Save the page as a file of its own.");
  }
  return encodePng(raster);
}

/** The first pixel of the mask in each object. */
function seedsOf({ ids, count, mask }) {
  const seeds = new Int32Array(count).fill(-1);
  for (let i = 0; i < ids.length; i++) if (ids[i] && mask[i] && seeds[ids[i] - 1] < 0) seeds[ids[i] - 1] = i;
  return seeds;
}

/** Size and objects of a page; parameters as for `objects`. `labels.mask` has the values of the mask in the objects. */
async function labelsOfPage({ result, instances, level, rule, corrected }) {
  const { width, height, data } = await rasterOf(result);
  if (corrected) return { width, height, labels: findCorrectedObjects(corrected, data, width, rule) };
  if (!instances) return { width, height, labels: labelsOf(data, width, level, rule) };
  const labels = labelsIn(await rasterOf(instances));
  return { width, height, labels: level === null ? { ...labels, mask: data.slice() } : labels }; // a copy: answers are transferred
}

/** Labels without corrections. */
function labelsOf(data, width, level, rule) {
  if (level !== null) return findObjects(data, width, level, rule);
  const labels = dropSmall(findRegions(data, width), rule.min_area);
  return { ...labels, mask: data.map((value, pixel) => (labels.ids[pixel] ? value : 0)) };
}

/** The labels of `instances` of the service; `mask` is 1 in all objects. */
function labelsIn({ data }) {
  const mask = Uint8Array.from(data, (id) => (id ? 1 : 0));
  return { ids: Int32Array.from(data), count: data.reduce((most, id) => Math.max(most, id), 0), mask };
}

/** Means of the image, none if its file cannot be read as stored, or differently from the service. */
async function intensitiesOf(labels, image, width) {
  const raster = image && (await rasterOf(image).catch(() => null));
  const fits = raster && !raster.isConverted && raster.width === width && raster.data.length === labels.ids.length * raster.channels;
  return fits ? measureIntensities(labels, raster) : [];
}

async function open(key, blob) {
  return remember(opened, key, () => read(blob));
}

async function read(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const header = readHeader(bytes);
  if (header?.channels && header.depth >= 8 && !header.interlaced) return { pages: 1, raster: () => decodePng(bytes) };
  if (header?.depth === 16) throw new Error("an interlaced PNG of 16 bits");
  const { isTiff, openTiff } = await import("./tiff.js"); // large, so loaded for those who need it
  return isTiff(bytes) ? openTiff(bytes) : { pages: 1, raster: () => decodeByBrowser(blob, storesGrey(bytes)) };
}

/** Pixels as stored, without rotation or colour profile. A canvas changes the colours of pixels that are not opaque. */
async function decodeByBrowser(blob, isGrey) {
  const options = { imageOrientation: "none", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, /** @type {ImageBitmapOptions} */ (options));
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const data = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  if (isGrey) return { width, height, channels: 1, data: everyFourth(data, 0) };
  return { width, height, channels: 4, data, isConverted: everyFourth(data, 3).some((opacity) => opacity < 255) };
}

function everyFourth(data, first) {
  const kept = new Uint8Array(data.length / 4);
  for (let to = 0, from = first; to < kept.length; to++, from += 4) kept[to] = data[from];
  return kept;
}

async function rasterOf({ key, blob, index }) {
  return remember(decoded, `${key} ${index}`, async () => (await open(key, blob)).raster(index));
}

/** The promise in `kept` under a key, made if it is not there; the oldest ones are dropped. */
function remember(kept, key, make) {
  if (!kept.has(key)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, make());
  }
  return kept.get(key);
}

function sizes(raster, shown) {
  return { size: { width: raster.width, height: raster.height }, width: shown.width, height: shown.height };
}

self.addEventListener("message", async ({ data: { call, name, parameters } }) => {
  try {
    const answer = await calls[name](parameters);
    const buffers = Object.values(answer).filter(ArrayBuffer.isView);
    self.postMessage({ call, answer }, { transfer: buffers.map((array) => array.buffer) });
  } catch (error) {
    self.postMessage({ call, error: error.message });
  }
});

// @ts-check
// The chosen image: its pages, the mask at the threshold, and the objects in it.

import { segment } from "./api.js";
import { ask } from "./decoder.js";
import { levelOf, Mask } from "./mask.js";
import { isCountedHere } from "./objects.js";
import { findObjects, loadPicture, loadValues } from "./picture.js";

const REST_MS = 150; // after the slider's last move, before objects are looked for

export class Scene {
  #shown = null; // `{ entry, index, pageInFile, values, mask }`
  #loads = 0; // the last one's number, to drop what comes too late of others
  #pictures = 0;
  #counts = 0;
  #timer = 0;
  #counting = Promise.resolve(); // one count at a time: those that are out of date by then are left out
  #threshold;
  #minArea = null;

  /**
   * `threshold`: null for a net of several classes. `rule`: how a mask becomes objects, see objects.js. `contrast()`
   * gives that of the picture, see contrast.js. `onPage` and `onObjects` are called with what is there.
   */
  constructor(viewer, { threshold, rule, contrast, onPage, onObjects }) {
    this.viewer = viewer;
    this.contrast = contrast;
    this.rule = rule;
    this.onPage = onPage;
    this.onObjects = onObjects;
    this.#threshold = threshold;
    this.level = threshold === null ? null : levelOf(threshold);
  }

  /** Shows a page of an entry that is done. What comes too late, since another one was chosen, is dropped. */
  async show(entry, index) {
    const load = ++this.#loads;
    this.#counts++; // a count of what was shown before comes too late
    const { filePages, notice } = entry.result;
    const pageInFile = filePages ? filePages[index] : index;
    const [{ pages }, values, picture] = await Promise.all([
      ask("pages", { key: resultKey(entry), blob: entry.result.blob }),
      loadValues(resultKey(entry), entry.result.blob, index),
      pageInFile === null ? null : this.#picture(entry, pageInFile).catch(() => null),
    ]);
    if (load !== this.#loads) return;
    const image = picture && fits(picture.canvas, values) ? picture.canvas : null; // of a file that the browser reads otherwise than the service
    const mask = new Mask(values.width, values.height);
    this.#shown = { entry, index, pageInFile, values, mask };
    mask.paint(values.data, this.level);
    this.viewer.show({ image, ...mask.layers }, values.size);
    const isShrunk = values.width < values.size.width;
    const isStretched = image !== null && picture.isStretched;
    this.onPage({ pages, index, size: values.size, isShrunk, hasPicture: image !== null, isStretched, notice });
    this.#count();
  }

  /** Shows the picture again, with another contrast. */
  async renewPicture() {
    if (!this.#shown || this.#shown.pageInFile === null) return;
    const [load, renewal, { entry, pageInFile, values, mask }] = [this.#loads, ++this.#pictures, this.#shown];
    const picture = await this.#picture(entry, pageInFile).catch(() => null);
    if (load !== this.#loads || renewal !== this.#pictures || !picture || !fits(picture.canvas, values)) return;
    this.viewer.show({ image: picture.canvas, ...mask.layers }, values.size);
  }

  #picture(entry, page) {
    return loadPicture(`${entry.id}-image`, entry.file, page, this.contrast());
  }

  clear() {
    this.#loads++;
    this.#counts++;
    clearTimeout(this.#timer);
    this.#shown = null;
  }

  set threshold(threshold) {
    this.#threshold = threshold;
    this.level = levelOf(threshold);
    this.#renew();
  }

  /** @param {number | null} minArea pixels of the mask; null for the number of the rule */
  set minArea(minArea) {
    this.#minArea = minArea;
    this.#renew();
  }

  /** Paints the mask again, and counts its objects a moment later. */
  #renew() {
    if (!this.#shown) return;
    const { values, mask } = this.#shown;
    mask.paint(values.data, this.level);
    this.viewer.draw();
    this.#counts++;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#count(), REST_MS);
  }

  #count() {
    const count = ++this.#counts;
    const before = this.#counting.catch(() => null);
    this.#counting = before.then(() => (count === this.#counts ? this.#findObjects(count) : null));
  }

  async #findObjects(count) {
    const { entry, index, pageInFile, values, mask } = this.#shown;
    const isAsked = !isCountedHere(this.rule, this.level !== null);
    const instances = isAsked ? await this.#instances(entry, index) : null;
    if ((isAsked && !instances) || count !== this.#counts) return;
    const result = { key: resultKey(entry), blob: entry.result.blob, index };
    const image = pageInFile === null ? null : { key: `${entry.id}-image`, blob: entry.file, index: pageInFile };
    const found = await findObjects({ result, instances, image, level: this.level, rule: this.#rule });
    if (count !== this.#counts) return;
    if (this.#minArea !== null && !(isAsked && this.level === null)) this.#paintKept(mask, found.mask);
    this.onObjects(found, values.size);
  }

  /** As the service: the mask loses small objects if a number was chosen, and keeps them by the stored number. */
  #paintKept(mask, kept) {
    mask.paint(kept, null);
    this.viewer.draw();
  }

  get #rule() {
    return this.#minArea === null ? this.rule : { ...this.rule, min_area: this.#minArea };
  }

  /** Ids that the service finds, for rules that this page does not know; null if it finds none that it can send. */
  async #instances(entry, index) {
    const chosen = { threshold: this.#threshold, min_area: this.#minArea, channel: entry.channel };
    const parameters = Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== null));
    const found = await segment(entry.file, { output: "instances", ...parameters }).catch(() => null);
    return found && { key: `${entry.id}-instances-${entry.results}-${JSON.stringify(parameters)}`, blob: found.blob, index };
  }
}

function resultKey(entry) {
  return `${entry.id}-result-${entry.results}`;
}

function fits(canvas, values) {
  return canvas.width === values.width && canvas.height === values.height;
}

// @ts-check
// The chosen image: its pages, the mask at the threshold or as corrected, and the objects in it.

import { CorrectedPage } from "./correcting/corrected_page.js";
import { ask } from "./decoder.js";
import { levelOf, Mask } from "./mask.js";
import { isCountedHere } from "./objects.js";
import { hasSeveralInputs } from "./outputs/page.js";
import { findObjects, loadPicture, loadValues } from "./picture.js";
import { askForIds } from "./service_ids.js";

const REST_MS = 150; // after the slider's last move, before objects are looked for

export class Scene {
  #shown = null; // `{ entry, index, pageInFile, values, mask, corrected }`
  #loads = 0; // the last one's number, to drop what comes too late of others
  #pictures = 0;
  #counts = 0;
  #timer = 0;
  #counting = Promise.resolve(); // one count at a time: those that are out of date by then are left out
  #threshold;
  #minArea = null;

  /**
   * `threshold`: null for a net of several classes. `rule`: how a mask becomes objects, see objects.js. `kind`: of labels,
   * see `Corrected`. `contrast()` gives that of the picture, see contrast.js. `onPage` and `onObjects` are called with
   * what is there.
   */
  constructor(viewer, { threshold, rule, kind, contrast, onPage, onObjects }) {
    this.viewer = viewer;
    this.contrast = contrast;
    this.rule = rule;
    this.kind = kind;
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
    this.#shown = { entry, index, pageInFile, values, mask, corrected: entry.corrections.get(index) ?? null };
    this.#paint();
    mask.layers.image = image;
    this.viewer.show(mask.layers, values.size);
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
    mask.layers.image = picture.canvas;
    this.viewer.show(mask.layers, values.size);
  }

  #picture(entry, page) {
    return loadPicture(imageKey(entry), entry.file, page, this.contrast());
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
    if (!this.#shown.corrected?.isCorrected) this.#shown.corrected = null; // it has the mask of the threshold before
    this.#paint();
    this.viewer.draw();
    this.#countSoon();
  }

  #countSoon() {
    this.#counts++;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#count(), REST_MS);
  }

  #paint() {
    const { values, mask, corrected } = this.#shown;
    if (!corrected) return mask.paint(values.data, this.level);
    mask.paintCorrected(corrected, { left: 0, top: 0, right: corrected.width, bottom: corrected.height });
  }

  /** The shown page to correct; null until `prepare` has made it. */
  get corrected() {
    return this.#shown?.corrected ?? null;
  }

  /** Makes `corrected`, unless it is there. Throws if the mask cannot be read. */
  async prepare() {
    if (!this.#shown || this.#shown.corrected) return;
    const [shown, count] = [this.#shown, this.#counts];
    const mask = await ask("correctable", { ...(await this.#labels()), kind: this.kind });
    if (shown === this.#shown && count === this.#counts) shown.corrected ??= new CorrectedPage(mask);
  }

  /** Shows what an edit has changed so far. */
  showEdit() {
    if (!this.#shown?.corrected) return;
    const { mask, corrected } = this.#shown;
    const touched = corrected.takeTouched();
    if (touched) mask.paintCorrected(corrected, touched);
    this.viewer.draw();
  }

  /** Follows an edit that has ended, or was undone: the entry keeps the corrected page, and the objects are counted. */
  finishEdit() {
    this.showEdit();
    const { entry, index, corrected } = this.#shown;
    if (!corrected) return;
    if (corrected.isCorrected) entry.corrections.set(index, corrected);
    else entry.corrections.delete(index);
    this.#countSoon();
  }

  /** The shown page as a pair to train on, see worker.js. Throws if it cannot be made. */
  async pair() {
    const { entry, index, pageInFile, corrected } = this.#shown;
    if (pageInFile === null) throw new Error("This page is not one of the file's pages, so there is no image to save.");
    const image = { key: imageKey(entry), blob: entry.file, index: pageInFile };
    if (hasSeveralInputs(entry.result)) {
      throw new Error("The net takes several channels of the file at once, so no single image can be saved with the label.");
    }
    const isOneOfChannels = entry.result.channels.length > 1;
    const pair = await ask("pair", { ...(await this.#labels()), image, kind: this.kind, isOneOfChannels });
    return { ...pair, entry, index, kind: this.kind, corrected, edit: corrected?.lastEdit ?? null };
  }

  /** What the worker makes the labels of the shown page of. */
  async #labels() {
    const { entry, index, corrected } = this.#shown;
    const isAsked = !corrected?.isCorrected && !isCountedHere(this.rule, this.level !== null);
    const instances = isAsked ? await this.#instances(entry, index) : null;
    if (isAsked && !instances) throw new Error("The service gave no objects for this page.");
    return {
      result: { key: resultKey(entry), blob: entry.result.blob, index },
      instances,
      level: this.level,
      rule: this.#rule,
      corrected: corrected?.isCorrected ? { kind: corrected.kind, values: corrected.values } : null,
    };
  }

  #count() {
    const count = ++this.#counts;
    const before = this.#counting.catch(() => null);
    this.#counting = before.then(() => (count === this.#counts ? this.#findObjects(count) : null));
  }

  async #findObjects(count) {
    const { entry, pageInFile, values, mask } = this.#shown;
    const labels = await this.#labels().catch(() => null);
    if (!labels || count !== this.#counts) return;
    const image = pageInFile === null ? null : { key: imageKey(entry), blob: entry.file, index: pageInFile };
    const found = await findObjects({ ...labels, image });
    if (count !== this.#counts) return;
    const isKept = this.#minArea !== null && !labels.corrected && !(labels.instances && this.level === null);
    if (isKept) this.#paintKept(mask, found.mask);
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
    const found = await askForIds(entry, { threshold: this.#threshold, min_area: this.#minArea }).catch(() => null);
    return found && { ...found, index };
  }
}

function resultKey(entry) {
  return `${entry.id}-result-${entry.results}`;
}

function imageKey(entry) {
  return `${entry.id}-image`;
}

function fits(canvas, values) {
  return canvas.width === values.width && canvas.height === values.height;
}

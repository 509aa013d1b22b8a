// @ts-check
// Pairs of an image and its label to train on: sent to the service if it saves labels, and kept for a ZIP file.

import { saveLabel } from "../api.js";
import { ask } from "../decoder.js";
import { byId } from "../dom.js";
import { distinctStems, imageNameOf, stemOf } from "../names.js";
import { saveFile } from "../save_file.js";

/** Signs of a name that the service takes. */
const LONGEST_NAME = 200;

/**
 * @typedef {object} Pair
 * @property {string} stem of its files; pairs of other images may have the same
 * @property {string} suffix of the image
 * @property {File} image
 * @property {Blob} label a PNG file
 * @property {Record<string, string | number | null>} provenance
 * @property {any} entry of the queue
 * @property {() => void} markSaved notes that the corrections in it are saved
 */

export class TrainingData {
  #save = byId("save-training");
  #download = byId("training-zip");
  /** @type {Map<string, Pair>} by image and page: a later pair replaces the one before */
  #pairs = new Map();

  /**
   * @param {object} calls
   * @param {() => Promise<any>} calls.makePair gives the shown page as `Scene.pair` does
   * @param {(entry: any) => { threshold: number | null, weights: string, classes: number }} calls.about what is known of the
   *   mask of an entry of the queue
   * @param {(entry: any) => string} calls.netOf gives the name of a served net whose labels are like those of an entry
   * @param {(entry: any) => void} calls.onSaved called with an entry of the queue whose page is saved
   * @param {(problem: any) => void} calls.onRefused called if the service wants a key
   */
  constructor(calls) {
    this.calls = calls;
    this.#save.addEventListener("click", () => this.#try(() => this.#saveShown()));
    this.#download.addEventListener("click", () => this.#try(() => this.#downloadAll()));
  }

  /** @param {boolean} savesLabels whether the service saves labels */
  set savesLabels(savesLabels) {
    this.isSending = savesLabels;
    byId("training-hint").textContent = savesLabels
      ? "Saves the image and its mask on the server, as a pair to train on."
      : "Keeps the image and its mask as a pair to train on, until you download the pairs.";
  }

  async #try(act) {
    byId("training-problem").hidden = true;
    this.#save.disabled = this.#download.disabled = true;
    try {
      await act();
    } catch (problem) {
      byId("training-problem").textContent = problem.message;
      byId("training-problem").hidden = false;
      if (problem.status === 401) this.calls.onRefused(problem);
    }
    this.#save.disabled = false;
    this.#download.disabled = !this.#pairs.size;
  }

  async #saveShown() {
    const found = await this.calls.makePair();
    const pair = this.#toPair(found);
    let text = "";
    if (this.isSending) {
      const { page, threshold } = pair.provenance;
      const about = { name: found.entry.file.name.slice(0, LONGEST_NAME), page, threshold, model: this.calls.netOf(found.entry) };
      const answer = await saveLabel(pair.image, pair.label, about);
      text = `Saved. The server has ${answer.pairs} pair${answer.pairs === 1 ? "" : "s"}.`;
    }
    this.#pairs.set(`${found.entry.id} ${found.index}`, pair);
    if (this.isSending) pair.markSaved();
    byId("training-state").textContent = text || `${this.#pairs.size} to download.`;
    this.#download.textContent = `Download ${this.#pairs.size} pair${this.#pairs.size === 1 ? "" : "s"} (ZIP)`;
    this.calls.onSaved(found.entry);
  }

  /** @returns {Pair} */
  #toPair({ entry, index, corrected, edit, label, image, kind, width, height }) {
    const stem = index ? `${stemOf(entry.result)}-page-${index + 1}` : stemOf(entry.result);
    const provenance = {
      time: new Date().toISOString(),
      name: entry.file.name,
      page: index,
      kind,
      width,
      height,
      ...this.calls.about(entry),
    };
    return {
      stem,
      suffix: image ? ".png" : imageNameOf(entry).slice(stemOf(entry.result).length),
      image: image ? new File([image], `${stem}.png`, { type: "image/png" }) : entry.file,
      label: new Blob([label], { type: "image/png" }),
      provenance,
      entry,
      markSaved: () => corrected?.markSaved(edit),
    };
  }

  async #downloadAll() {
    const pairs = [...this.#pairs.values()];
    const stems = distinctStems(pairs.map(({ stem }) => stem));
    const files = pairs.flatMap((pair, index) => filesOf(pair, stems[index]));
    saveFile((await ask("archive", { files, tables: [] })).blob, "labels.zip");
    for (const { entry, markSaved } of pairs) {
      markSaved();
      this.calls.onSaved(entry);
    }
    byId("training-state").textContent = "Downloaded. The training reads the ZIP file as it is.";
  }
}

/** The layout that `python -m training.run --data` reads. */
function filesOf({ image, suffix, label, provenance }, stem) {
  const record = { id: stem, image: stem + suffix, ...provenance };
  return [
    { name: `image/${record.image}`, blob: image },
    { name: `label/${stem}.png`, blob: label },
    { name: `provenance/${stem}.json`, blob: new Blob([JSON.stringify(record, null, 1)]) },
  ];
}

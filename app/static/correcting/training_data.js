// @ts-check
// Pairs of an image and its label to train on: sent to the service if it saves labels, and kept for a ZIP file.

import { saveLabel } from "../api.js";
import { byId } from "../dom.js";
import { saveFile } from "../save_file.js";
import { zip } from "../zip.js";

/** @typedef {import("./corrected_page.js").CorrectedPage} CorrectedPage */

/**
 * @typedef {object} Pair
 * @property {string} name of its files, without a suffix
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
      const answer = await saveLabel(pair.image, pair.label, { name: found.entry.file.name, page, threshold });
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
    const name = this.#nameFor(entry, index);
    const file = image ? new File([image], `${name}.png`, { type: "image/png" }) : entry.file;
    const suffix = image ? ".png" : (entry.file.name.match(/\.[a-z0-9]+$/i)?.[0].toLowerCase() ?? ".png");
    const provenance = {
      id: name,
      time: new Date().toISOString(),
      name: entry.file.name,
      page: index,
      image: name + suffix,
      kind,
      width,
      height,
      ...this.calls.about(entry),
    };
    const blob = new Blob([label], { type: "image/png" });
    return { name, image: file, label: blob, provenance, entry, markSaved: () => corrected?.markSaved(edit) };
  }

  /** A name of files that no other pair has, and that any system takes. */
  #nameFor(entry, index) {
    const known = this.#pairs.get(`${entry.id} ${index}`);
    if (known) return known.name;
    const stem = entry.file.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 80) || "image";
    const name = index ? `${stem}-page-${index + 1}` : stem;
    const taken = new Set([...this.#pairs.values()].map((pair) => pair.name));
    for (let number = 1; ; number++) {
      const candidate = number === 1 ? name : `${name}-${number}`;
      if (!taken.has(candidate)) return candidate;
    }
  }

  async #downloadAll() {
    const pairs = [...this.#pairs.values()];
    const files = await Promise.all(pairs.flatMap((pair) => filesOf(pair)));
    saveFile(zip(files), "labels.zip");
    for (const { entry, markSaved } of pairs) {
      markSaved();
      this.calls.onSaved(entry);
    }
    byId("training-state").textContent = "Downloaded. The training reads the ZIP file as it is.";
  }
}

/** The layout that `python -m training.run --data` reads. */
function filesOf({ name, image, label, provenance }) {
  const text = JSON.stringify(provenance, null, 1);
  return [
    toFile(`image/${provenance.image}`, image),
    toFile(`label/${name}.png`, label),
    toFile(`provenance/${name}.json`, new Blob([text])),
  ];
}

async function toFile(name, blob) {
  return { name, bytes: new Uint8Array(await blob.arrayBuffer()) };
}

// @ts-check
// The dialog that saves the chosen outputs of all images as one ZIP file.

import { askForOutputs, stopOutputs } from "./decoder.js";
import { byId } from "./dom.js";
import { OUTPUTS } from "./downloads.js";
import { distinctStems, imageNameOf, stemOf } from "./names.js";
import { makeOutputs } from "./output_files.js";
import { saveFile } from "./save_file.js";

const KEPT = "segment-outputs"; // in sessionStorage: the chosen kinds
const USUAL = ["mask", "table", "rois"];
const FILE = "segmentation.zip";

export class DownloadAll {
  #dialog = byId("all-dialog");
  #run = 0; // the last one's number: an earlier one was cancelled
  #isRunning = false;

  /**
   * @param {() => any[]} entries gives the entries of the queue
   * @param {() => import("./output_files.js").Settings} settings gives what is chosen
   */
  constructor(entries, settings) {
    this.entries = entries;
    this.settings = settings;
    byId("download-all").addEventListener("click", () => this.#open());
    byId("all-cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#cancel());
    byId("all-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  #open() {
    this.#offer();
    this.#show("", this.entries().filter((entry) => entry.state !== "done").map(describeLeft));
    byId("all-save").disabled = !this.#done.length;
    this.#dialog.showModal();
  }

  get #done() {
    return this.entries().filter(({ state }) => state === "done");
  }

  /** Shows a checkbox for each output; the probabilities of several classes are not in the page. */
  #offer() {
    const isOneClass = this.settings().model.architecture.classes === 1;
    const chosen = JSON.parse(sessionStorage.getItem(KEPT) ?? "null") ?? USUAL;
    const offered = OUTPUTS.filter(([kind]) => kind !== "probability" || isOneClass);
    byId("all-kinds").replaceChildren(...offered.map(([kind, title]) => makeChoice(kind, title, chosen.includes(kind))));
  }

  async #save() {
    const kinds = [...byId("all-kinds").querySelectorAll("input:checked")].map(({ value }) => value);
    if (!kinds.length) return this.#show("Choose an output.", []);
    sessionStorage.setItem(KEPT, JSON.stringify(kinds));
    const run = ++this.#run;
    byId("all-save").disabled = this.#isRunning = true;
    const remarks = this.entries().filter((entry) => entry.state !== "done").map(describeLeft);
    try {
      const { blob } = await askForOutputs("archive", await this.#collect(kinds, remarks, run));
      saveFile(blob, FILE);
      this.#show("The file is saved.", remarks);
    } catch (problem) {
      if (run !== this.#run) return;
      remarks.push(problem.message);
      this.#show("", remarks);
    }
    byId("all-save").disabled = this.#isRunning = false;
    if (!remarks.length) this.#dialog.close();
  }

  /** Makes the files of one image after the other; adds a remark for each file that is missing, or lacks something. */
  async #collect(kinds, remarks, run) {
    const settings = this.settings();
    const entries = this.#done;
    const stems = distinctStems(entries.map(({ result }) => stemOf(result)));
    const [files, tables] = [[], []];
    for (const [index, entry] of entries.entries()) {
      this.#show(`Image ${index + 1} of ${entries.length}: ${entry.file.name}`, remarks);
      const made = await makeOutputs(entry, kinds, settings).catch(({ message }) => ({ files: [], problems: [{ message }], notes: [] }));
      if (run !== this.#run) throw new Error("Cancelled.");
      files.push(...made.files.map(({ ending, blob }) => ({ name: stems[index] + ending, blob })));
      const image = stems[index] + imageNameOf(entry).slice(stemOf(entry.result).length);
      tables.push(...made.files.filter(({ kind }) => kind === "table").map(({ blob }) => ({ image, blob })));
      remarks.push(...[...made.problems.map(({ message }) => message), ...made.notes].map((text) => `${entry.file.name}: ${text}`));
    }
    this.#show("Packing the files.", remarks);
    return { files, tables };
  }

  #show(progress, remarks) {
    byId("all-progress").textContent = progress;
    byId("all-remarks").replaceChildren(...remarks.map(makeItem));
  }

  #cancel() {
    if (this.#isRunning) stopOutputs();
    this.#isRunning = false;
    this.#run++;
  }
}

/** Why an image is left out, as a sentence. */
function describeLeft({ file, state }) {
  if (state === "failed") return `${file.name} is left out, because it failed.`;
  if (state === "cancelled") return `${file.name} is left out, because it was cancelled.`;
  if (state === "outdated") return `${file.name} is left out, because its mask is of another net.`;
  return `${file.name} is left out, because it is not done yet.`;
}

function makeChoice(kind, title, isChosen) {
  const [label, box] = [document.createElement("label"), document.createElement("input")];
  label.className = "check";
  Object.assign(box, { type: "checkbox", value: kind, checked: isChosen });
  label.append(box, title);
  return label;
}

function makeItem(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

// @ts-check
// The stage around the canvas: caption, page slider, notes, and the message in place of a mask.

import { byId, makeButton } from "./dom.js";
import { number } from "./statistics.js";

export class Stage {
  #caption = byId("caption");
  #message = byId("message");
  #note = byId("note");
  #pages = byId("pages");
  #page = byId("page");

  /**
   * @param {(index: number) => void} onPage called with the index of the page that the slider chooses
   * @param {(entry: any) => void} onRetry called with the entry that is sent again
   */
  constructor(onPage, onRetry) {
    this.onRetry = onRetry;
    this.#page.addEventListener("input", () => onPage(this.#page.valueAsNumber - 1));
  }

  /** Shows the state of an entry of the queue. */
  showEntry(entry) {
    const { state, problem, file } = entry;
    const isDone = state === "done";
    byId("canvas").hidden = state === "failed";
    byId("modes").disabled = byId("correct").disabled = byId("tools").disabled = !isDone;
    this.#caption.textContent = file.name;
    this.#pages.hidden = true;
    byId("channel-field").hidden = true;
    this.showNotes([]);
    this.#message.hidden = isDone;
    this.#message.dataset.state = state;
    if (isDone) return;
    if (state === "outdated") return this.#offer(entry, "The net has changed. ", "Compute again");
    if (problem && mayPass(problem)) return this.#offer(entry, problem.message, "Try again");
    this.#message.replaceChildren(problem?.message ?? "The mask is on its way…");
  }

  #offer(entry, text, action) {
    this.#message.replaceChildren(text, makeButton(action, () => this.onRetry(entry)));
  }

  /** Shows what is known of the page on the canvas. */
  showPage(file, { pages, index, size, isShrunk, hasPicture, isStretched, notice }) {
    const of = pages > 1 ? `, ${pages} pages` : "";
    this.#caption.textContent = `${file.name} · ${number(size.width)} × ${number(size.height)}${of}`;
    this.#pages.hidden = pages === 1;
    this.#page.max = pages;
    this.#page.value = index + 1;
    byId("page-number").textContent = `${index + 1} of ${pages}`;
    byId("range-field").hidden = !isStretched;
    const notes = notice ? [notice] : [];
    if (isShrunk) notes.push("Shown with fewer pixels than it has; objects and downloads are those of all pixels.");
    if (!hasPicture) notes.push("This browser cannot show the image itself; its mask is right all the same.");
    this.showNotes(notes);
  }

  /** @param {string[]} notes sentences below the canvas */
  showNotes(notes) {
    this.#note.hidden = !notes.length;
    this.#note.textContent = notes.join(" ");
  }
}

/** Whether the same file may get another answer later. */
function mayPass({ status }) {
  return status === 0 || status === 401 || status >= 500;
}

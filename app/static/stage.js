// @ts-check
// The stage around the canvas: caption, page slider, notes, and the message in place of a mask.

import { byId, makeButton } from "./dom.js";
import { splitDoubt } from "./nets.js";
import { describeState, isOnItsWay } from "./progress.js";
import { number } from "./statistics.js";

const MOST_OFFERED = 3; // nets, as buttons
const RETRIES = { outdated: "Compute again", cancelled: "Compute" }; // the button of a state

export class Stage {
  #caption = byId("caption");
  #message = byId("message");
  #action = byId("message-action");
  #act = () => {};
  #note = byId("note");
  #pages = byId("pages");
  #page = byId("page");

  /** @type {string[]} names of the nets that are served besides the chosen one */
  otherNets = [];

  /**
   * @param {object} calls
   * @param {(index: number) => void} calls.onPage called with the index of the page that the slider chooses
   * @param {(entry: any) => void} calls.onRetry called with the entry that is sent again
   * @param {(entry: any) => void} calls.onCancel called with the entry whose request is cancelled
   * @param {(name: string) => void} calls.onNet called with the name of the net that the person wants to try
   */
  constructor({ onPage, onRetry, onCancel, onNet }) {
    this.onNet = onNet;
    this.onRetry = onRetry;
    this.onCancel = onCancel;
    this.#page.addEventListener("input", () => onPage(this.#page.valueAsNumber - 1));
    this.#action.addEventListener("click", () => this.#act());
  }

  /** Shows the state of an entry of the queue. */
  showEntry(entry) {
    const { state, file } = entry;
    const isDone = state === "done";
    byId("canvas").hidden = state === "failed";
    byId("modes").disabled = byId("correct").disabled = byId("tools").disabled = !isDone;
    this.#caption.textContent = file.name;
    this.#pages.hidden = true;
    byId("channel-field").hidden = true;
    this.showNotes([]);
    this.#showDoubt("", []);
    if (isDone && document.activeElement === this.#action) byId("canvas").focus(); // the button disappears
    this.#message.hidden = isDone;
    this.#message.dataset.state = state;
    byId("message-text").textContent = describeState(entry);
    this.#offer(entry);
  }

  /** Shows the button of a state. The element is always the same, so that it keeps the focus while the text changes. */
  #offer(entry) {
    const retry = RETRIES[entry.state] ?? (entry.state === "failed" && mayPass(entry.problem) ? "Try again" : null);
    this.#action.hidden = !retry && !isOnItsWay(entry);
    this.#action.textContent = retry ?? "Cancel";
    this.#act = () => (retry ? this.onRetry(entry) : this.onCancel(entry));
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
    const { doubt, suited, rest } = splitDoubt(notice);
    this.#showDoubt(doubt, suited);
    const notes = rest ? [rest] : [];
    if (isShrunk) notes.push("Shown with fewer pixels than it has; objects and downloads are those of all pixels.");
    if (!hasPicture) notes.push("This browser cannot show the image itself; its mask is right all the same.");
    this.showNotes(notes);
  }

  /** Shows a doubt whether the image suits the net. Offers nets that suit the image, or others if there is none. */
  #showDoubt(doubt, suited) {
    const fitting = this.otherNets.filter((name) => suited.includes(name));
    const nets = (fitting.length ? fitting : this.otherNets).slice(0, MOST_OFFERED);
    const text = fitting.length ? `${doubt} It looks like the images that ${fitting.join(", ")} learned from.` : doubt;
    byId("doubt").hidden = !doubt;
    byId("doubt").replaceChildren(`${text} `, ...nets.map((name) => makeButton(`Try ${name}`, () => this.onNet(name))));
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

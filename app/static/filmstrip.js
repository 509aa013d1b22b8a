// @ts-check
// The list of images: a thumbnail and the state of each.

import { hasUnsaved } from "./correcting/corrected_page.js";
import { loadThumbnail } from "./picture.js";

const STATES = {
  waiting: () => "Waiting",
  uploading: ({ sent }) => `Uploading ${Math.round(100 * sent)}%`,
  computing: () => "Computing",
  busy: () => "The server is busy; trying again soon",
  done: ({ corrections }) => (corrections.size ? (hasUnsaved(corrections) ? "Corrected, not saved" : "Corrected, saved") : "Done"),
  outdated: () => "The net has changed",
  failed: ({ problem }) => problem.message,
};

export class Filmstrip {
  #items = new Map(); // by entry

  constructor(list, { onSelect, onRemove }) {
    this.list = list;
    this.onSelect = onSelect;
    this.onRemove = onRemove;
  }

  /** Makes or renews the item of an entry. */
  update(entry) {
    if (!this.#items.has(entry)) this.#items.set(entry, this.#make(entry));
    const { item, state, progress } = this.#items.get(entry);
    item.dataset.state = entry.state;
    state.textContent = STATES[entry.state](entry);
    progress.hidden = !["uploading", "computing"].includes(entry.state);
    if (entry.state === "uploading") progress.value = entry.sent;
    else progress.removeAttribute("value"); // the share is unknown: the bar moves
  }

  select(entry) {
    for (const [each, { button }] of this.#items) button.setAttribute("aria-current", each === entry);
    this.#items.get(entry)?.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Drops the item of an entry. */
  remove(entry) {
    this.#items.get(entry).item.remove();
    this.#items.delete(entry);
  }

  #make(entry) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("image-item"));
    const item = /** @type {HTMLElement} */ (template.content.firstElementChild.cloneNode(true));
    const [button, state, progress] = ["button", ".state", "progress"].map((found) => item.querySelector(found));
    const remove = item.querySelector(".remove");
    item.querySelector(".name").textContent = entry.file.name;
    button.setAttribute("title", entry.file.name); // a long name is cut off
    remove.setAttribute("aria-label", `Remove ${entry.file.name}`);
    button.addEventListener("click", () => this.onSelect(entry));
    remove.addEventListener("click", () => this.onRemove(entry));
    this.list.append(item);
    showThumbnail(item.querySelector(".thumbnail"), entry);
    return { item, button, state, progress };
  }
}

async function showThumbnail(frame, entry) {
  try {
    frame.append(await loadThumbnail(`${entry.id}-image`, entry.file));
  } catch {
    frame.classList.add("blank"); // no image, or of a kind that only the service reads; its answer says which
  }
}

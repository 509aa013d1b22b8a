// @ts-check
// The list of images: a thumbnail and the state of each.

import { loadThumbnail } from "./picture.js";
import { describeState, shareOf } from "./progress.js";

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
    state.textContent = describeState(entry);
    progress.hidden = !["uploading", "computing"].includes(entry.state);
    const share = shareOf(entry);
    if (share === null) progress.removeAttribute("value"); // the bar moves
    else progress.value = share;
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

// @ts-check
// Keys of the whole page, and the dialog that lists them.

import { byId } from "./dom.js";

/**
 * Calls functions by the keys that are pressed anywhere but in a field.
 *
 * @param {Record<string, () => void>} actions by the name of the key
 */
export function followKeys(actions) {
  document.addEventListener("keydown", (event) => {
    const act = actions[event.key];
    const { target, defaultPrevented, ctrlKey, metaKey, altKey } = event;
    if (!act || defaultPrevented || ctrlKey || metaKey || altKey) return; // the canvas has its own arrow keys
    if (/** @type {Element} */ (target).closest("input, select, dialog")) return;
    event.preventDefault();
    act();
  });
}

export class HelpDialog {
  #dialog = byId("help-dialog");

  constructor() {
    byId("help").addEventListener("click", () => this.open());
    byId("help-close").addEventListener("click", () => this.#dialog.close());
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

// @ts-check
// The dialog that asks for the service's key.

import { setKey } from "./api.js";
import { byId } from "./dom.js";

export class KeyDialog {
  #dialog = byId("key-dialog");

  /** @param {() => void} onKey called when a key was entered */
  constructor(onKey) {
    const field = byId("key");
    byId("key-cancel").addEventListener("click", () => this.#dialog.close());
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      setKey(field.value);
      field.value = "";
      this.#dialog.close();
      onKey();
    });
  }

  /** @param {boolean} isWrong whether the request had a key */
  open(isWrong) {
    byId("key-problem").hidden = !isWrong;
    byId("key").ariaInvalid = String(isWrong);
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

// @ts-check
// Notices that the service serves other nets: from time to time, and by the header of each answer.

import { listNetsNow } from "./api.js";
import { signatureOf } from "./nets.js";

const LOOK_MS = 30_000;

export class NetWatch {
  #looking = null; // the promise of a look in progress

  /**
   * @param {import("./nets.js").Served} served the nets
   * @param {(served: import("./nets.js").Served, before: import("./nets.js").Served) => void} onChange called with the nets
   *   that are served now, and those that were served before
   */
  constructor(served, onChange) {
    this.served = served;
    this.onChange = onChange;
    setInterval(() => document.hidden || this.look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  /** Asks the service which nets it serves; resolves when `onChange` has been called if they are others. */
  look() {
    return (this.#looking ??= this.#ask().finally(() => (this.#looking = null)));
  }

  async #ask() {
    const served = await listNetsNow();
    if (!served) return;
    const before = this.served;
    this.served = served;
    if (signatureOf(served) !== signatureOf(before)) this.onChange(served, before);
  }
}

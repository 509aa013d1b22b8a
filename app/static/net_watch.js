// @ts-check
// Notices that the service serves another net: from time to time, and by the header of each answer.

import { describeModelNow, labelOf } from "./api.js";

const LOOK_MS = 30_000;

export class NetWatch {
  #looking = null; // the promise of a look in progress

  /**
   * @param {{ name: string, sha256: string }} model the net that is served
   * @param {(model: any) => void} onChange called with the description of another net
   */
  constructor(model, onChange) {
    this.label = labelOf(model);
    this.onChange = onChange;
    setInterval(() => document.hidden || this.look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  /** Asks the service which net it serves; resolves when `onChange` has been called if the net is another one. */
  look() {
    return (this.#looking ??= this.#ask().finally(() => (this.#looking = null)));
  }

  async #ask() {
    const model = await describeModelNow();
    if (!model || labelOf(model) === this.label) return;
    this.label = labelOf(model);
    this.onChange(model);
  }
}

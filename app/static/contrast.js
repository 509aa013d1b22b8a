// @ts-check
// Contrast of the picture: which values are black and white, and the gamma between them. Only the display changes.

import { byId } from "./dom.js";

/**
 * @typedef {object} Contrast
 * @property {boolean} isAuto black and white are percentiles; otherwise the lowest and the highest value
 * @property {number} gamma exponent of the brightness, 0 to 1
 */

export class ContrastControl {
  #range = byId("range");
  #gamma = byId("gamma");

  /** @param {() => void} onChange called when another contrast was chosen */
  constructor(onChange) {
    this.#range.addEventListener("change", onChange);
    this.#gamma.addEventListener("input", () => {
      byId("gamma-number").textContent = this.#gamma.valueAsNumber.toFixed(2);
      onChange();
    });
  }

  /** @returns {Contrast} */
  get value() {
    return { isAuto: this.#range.value === "auto", gamma: this.#gamma.valueAsNumber };
  }
}

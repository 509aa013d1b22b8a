// @ts-check
// The area of the smallest object that is kept: a number, at first the one that is stored with the weights.

import { byId } from "./dom.js";

export class MinAreaControl {
  #field = byId("min-area");

  /**
   * @param {number} stored of the weights, pixels
   * @param {() => void} onChange called when another number was chosen
   * @param {AbortSignal} signal ends the control, before there is another one
   */
  constructor(stored, onChange, signal) {
    this.stored = stored;
    this.value = stored;
    this.#field.value = stored;
    const accept = () => {
      const { value, valueAsNumber } = this.#field;
      this.value = value === "" ? stored : Math.max(0, Math.round(valueAsNumber));
      this.#field.value = this.value;
      onChange();
    };
    this.#field.addEventListener("change", accept, { signal });
  }

  /** The number to send; null for the stored one, which needs no parameter. */
  get chosen() {
    return this.value === this.stored ? null : this.value;
  }
}

// @ts-check
// The threshold: a slider, a number, and a way back to the threshold that is stored with the weights.

import { byId } from "./dom.js";

export class ThresholdControl {
  #slider = byId("threshold");
  #number = byId("threshold-number");
  #reset = byId("reset");

  /**
   * @param {number} stored the threshold of the weights, 0 to 1
   * @param {string} foreground meaning of the pixels above the threshold
   * @param {(value: number) => void} onChange called with each new threshold
   * @param {AbortSignal} signal ends the control, before there is another one
   */
  constructor(stored, foreground, onChange, signal) {
    this.stored = stored;
    this.value = stored;
    this.onChange = onChange;
    byId("foreground").textContent = foreground;
    byId("default").textContent = String(stored);
    this.#slider.addEventListener("input", () => this.#set(this.#slider.valueAsNumber), { signal });
    this.#number.addEventListener("change", () => this.#set(this.#accepted()), { signal });
    this.#reset.addEventListener("click", () => this.#set(stored), { signal });
    this.#set(stored);
  }

  /** The threshold to send; null for the stored one, which needs no parameter. */
  get chosen() {
    return this.value === this.stored ? null : this.value;
  }

  /** The number in the field, or the threshold before if the field does not accept the number. */
  #accepted() {
    const { valueAsNumber: value, min, max } = this.#number;
    return value >= Number(min) && value <= Number(max) ? value : this.value;
  }

  /** @param {number} value */
  #set(value) {
    this.value = value;
    this.#slider.value = this.#number.value = value;
    this.#reset.hidden = this.chosen === null;
    this.onChange(value);
  }
}

// @ts-check
// A range of areas: dragged over the histogram, or typed.

import { byId } from "./dom.js";
import { areasOfBins, drawHistogram, histogram } from "./statistics.js";

export class AreaRange {
  #svg = byId("histogram");
  #least = byId("least-area");
  #most = byId("most-area");
  #clear = byId("all-areas");
  #areas = new Uint32Array();
  #text = "";
  #start = null; // the column where a drag began

  /** @param {() => void} onChange called when another range is chosen */
  constructor(onChange) {
    this.onChange = onChange;
    for (const field of [this.#least, this.#most]) field.addEventListener("change", () => this.#changed());
    this.#clear.addEventListener("click", () => {
      this.#least.value = this.#most.value = "";
      this.#changed();
      this.#least.focus(); // the button is gone
    });
    this.#followPointer();
  }

  /** Whether no area is left out. */
  get isWhole() {
    return !this.#least.value && !this.#most.value;
  }

  /**
   * @param {Uint32Array} areas pixels
   * @returns {Uint8Array<ArrayBuffer>} 1 for each area in the range
   */
  choose(areas) {
    const { least, most } = this.#ends;
    return Uint8Array.from(areas, (area) => (area >= least && area <= most ? 1 : 0));
  }

  /**
   * @param {ArrayLike<number>} areas pixels
   * @param {string} text description of the histogram for screen readers
   */
  show(areas, text) {
    [this.#areas, this.#text] = [Uint32Array.from(areas), text];
    this.#draw();
  }

  /** What the fields have; an empty field is no limit. */
  get #ends() {
    const most = this.#most.valueAsNumber;
    return { least: this.#least.valueAsNumber || 0, most: Number.isNaN(most) ? Infinity : most };
  }

  #changed() {
    this.#draw();
    this.onChange();
  }

  #draw() {
    this.#clear.hidden = this.isWhole;
    drawHistogram(this.#svg, this.#areas, this.#text, this.isWhole ? null : this.#ends);
  }

  #followPointer() {
    this.#svg.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // selects no text
      this.#svg.setPointerCapture(event.pointerId);
      this.#start = this.#columnAt(event);
      this.#choose(this.#start);
    });
    this.#svg.addEventListener("pointermove", (event) => {
      if (this.#start !== null) this.#choose(this.#columnAt(event));
    });
    for (const ended of ["pointerup", "pointercancel"]) {
      this.#svg.addEventListener(ended, () => (this.#start = null));
    }
  }

  /** Chooses the columns from the start of the drag to this one. */
  #choose(column) {
    const { least, most } = areasOfBins(Math.min(this.#start, column), Math.max(this.#start, column));
    if (least === this.#ends.least && most === this.#ends.most) return;
    [this.#least.value, this.#most.value] = [least, most];
    this.#changed();
  }

  #columnAt(event) {
    const { left, width } = this.#svg.getBoundingClientRect();
    const columns = histogram(this.#areas).counts.length;
    return Math.min(columns - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * columns)));
  }
}

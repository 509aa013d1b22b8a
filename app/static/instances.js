// @ts-check
// Pictures of the objects: each in a colour, and a veil over those that are not chosen.

import { paintRegions, pixelOf } from "./paint.js";
import { emptyCanvas, putPixels } from "./picture.js";

const VEIL = 0xc0808080; // grey, three quarters opaque

export class Instances {
  #found;
  #isIncluded = null;
  #layers = null; // painted when they are first drawn: not every view shows them
  #veil = null;

  /** @param {any} found objects as worker.js finds them */
  constructor(found) {
    this.#found = found;
  }

  /** @param {((object: number) => boolean) | null} isIncluded chooses objects by their index; null: all of them */
  set isIncluded(isIncluded) {
    this.#isIncluded = isIncluded;
    this.#layers = this.#veil = null;
  }

  /** Canvases `fill` and `outline`. */
  get layers() {
    this.#layers ??= this.#paint();
    return this.#layers;
  }

  /** A canvas; null if all objects are chosen. */
  get veil() {
    if (this.#isIncluded) this.#veil ??= this.#paintVeil();
    return this.#veil;
  }

  #paint() {
    const { ids, width, colours } = this.#found;
    const paintOf = (id) => (this.#isIncluded?.(id - 1) === false ? 0 : pixelOf(colours[id]));
    const painted = paintRegions(ids, width, paintOf);
    return { fill: this.#toCanvas(painted.fill), outline: this.#toCanvas(painted.outline) };
  }

  #paintVeil() {
    const pixels = new Uint32Array(this.#found.ids.length);
    this.#found.ids.forEach((id, pixel) => {
      if (id && !this.#isIncluded(id - 1)) pixels[pixel] = VEIL;
    });
    return this.#toCanvas(pixels);
  }

  #toCanvas(pixels) {
    const canvas = emptyCanvas(this.#found.width, pixels.length / this.#found.width);
    putPixels(canvas, pixels);
    return canvas;
  }
}

// @ts-check
// Pictures of the objects: each in a colour, and a veil over those that are not chosen.

import { paintRegions, pixelOf } from "./paint.js";
import { emptyCanvas, putPixels } from "./picture.js";

const VEIL = 0xc0808080; // grey, three quarters opaque

export class Instances {
  #found;
  #chosen = null;
  #layers = null; // painted when they are first drawn: not every view shows them
  #veil = null;

  /** @param {any} found objects as worker.js finds them */
  constructor(found) {
    this.#found = found;
  }

  /** @param {Uint8Array | null} chosen 1 for each object that is chosen, by its index; null: all of them */
  set chosen(chosen) {
    this.#chosen = chosen;
    this.#layers = this.#veil = null;
  }

  /** Canvases `fill` and `outline`. */
  get layers() {
    this.#layers ??= this.#paint();
    return this.#layers;
  }

  /** A canvas; null if all objects are chosen. */
  get veil() {
    if (this.#chosen) this.#veil ??= this.#paintVeil();
    return this.#veil;
  }

  #paint() {
    const { ids, width, colours } = this.#found;
    const chosen = this.#chosen;
    const paintOf = (id) => (chosen && !chosen[id - 1] ? 0 : pixelOf(colours[id]));
    const painted = paintRegions(ids, width, paintOf);
    return { fill: this.#toCanvas(painted.fill), outline: this.#toCanvas(painted.outline) };
  }

  #paintVeil() {
    const { ids } = this.#found;
    const [chosen, pixels] = [this.#chosen, new Uint32Array(ids.length)];
    for (let pixel = 0; pixel < ids.length; pixel++) if (ids[pixel] && !chosen[ids[pixel] - 1]) pixels[pixel] = VEIL;
    return this.#toCanvas(pixels);
  }

  #toCanvas(pixels) {
    const canvas = emptyCanvas(this.#found.width, pixels.length / this.#found.width);
    putPixels(canvas, pixels);
    return canvas;
  }
}

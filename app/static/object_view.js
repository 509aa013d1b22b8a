// @ts-check
// The objects of the chosen image: in the picture, in the figures, and in the table, chosen in any of them.

import { AreaRange } from "./area_range.js";
import { columnsOf } from "./columns.js";
import { byId } from "./dom.js";
import { Instances } from "./instances.js";
import { showObjectFigures } from "./object_figures.js";
import { ObjectTable } from "./object_table.js";
import { outlineOf } from "./outline.js";
import { followPointer } from "./pointing.js";
import { number } from "./statistics.js";

export class ObjectView {
  #found = null; // as worker.js finds them
  #instances = null;
  #size = { width: 1, height: 1 };
  #chosen = new Uint8Array(); // 1 for each object whose area is in the range
  #selected = -1; // index of an object
  #hint = byId("object-hint");

  /** Whether the pointer chooses objects in the picture. */
  picks = true;

  /** @type {Record<number, string> | null} the meaning of the classes, if there are several */
  labels = null;

  /** @param {import("./viewer.js").Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.table = new ObjectTable((object) => this.select(object), (object) => this.#open(object));
    this.range = new AreaRange(() => this.#filter());
    followPointer(viewer, {
      onHover: (point, place) => this.#hover(this.picks ? this.#objectAt(point) : -1, place),
      onPick: (point) => this.picks && this.select(this.#objectAt(point)),
    });
  }

  /**
   * Shows objects, and returns their figures as a sentence.
   *
   * @param {any} found as worker.js finds them
   * @param {{ width: number, height: number }} size of the image, pixels
   * @param {{ x: number, y: number } | null} pixelSize micrometres
   */
  show(found, size, pixelSize) {
    [this.#found, this.#size] = [found, size];
    this.#instances = new Instances(found);
    this.#hover(-1, null);
    const text = showObjectFigures(found.shapes.area, found.pixels);
    this.range.show(found.shapes.area, text);
    this.table.show(columnsOf(found, pixelSize, this.labels));
    this.#filter();
    this.select(-1);
    return text;
  }

  /** Forgets the objects: another image or page comes. */
  clear() {
    this.#found = this.#instances = null;
    this.viewer.instances = null;
    this.select(-1);
    this.#hover(-1, null);
    this.table.clear();
    byId("row-count").textContent = "";
  }

  /** A pixel of the mask in the selected object, its index; -1 if none is selected. */
  get selectedSeed() {
    return this.#found?.seeds[this.#selected] ?? -1;
  }

  /** @param {number} object its index; -1 for none */
  select(object) {
    this.#selected = object;
    this.table.select(object);
    this.viewer.outlineSelected = this.#outlineOf(object);
    if (object >= 0) this.viewer.reveal(this.#boxOf(object));
  }

  /** Shows the object close by. */
  #open(object) {
    this.viewer.zoomTo(this.#boxOf(object));
    this.viewer.canvas.scrollIntoView({ block: "nearest" });
  }

  #filter() {
    if (!this.#found) return;
    const chosen = (this.#chosen = this.range.choose(this.#found.shapes.area));
    this.#instances.chosen = this.range.isWhole ? null : chosen;
    this.table.filter((object) => chosen[object] === 1);
    this.viewer.instances = this.#instances;
    if (this.#selected >= 0 && !chosen[this.#selected]) this.select(-1);
    byId("row-count").textContent = this.range.isWhole
      ? ""
      : `${number(this.table.length)} of ${number(chosen.length)} objects`;
  }

  /** The index of the object at a point of the image; -1 if there is none, or it is not chosen. */
  #objectAt(point) {
    if (!this.#found || !point) return -1;
    const { ids, width } = this.#found;
    const step = this.#size.width / width;
    const object = ids[Math.floor(point.y / step) * width + Math.floor(point.x / step)] - 1;
    return this.#chosen[object] ? object : -1;
  }

  #hover(object, place) {
    this.viewer.outlineHovered = this.#outlineOf(object);
    this.#hint.hidden = object < 0;
    if (object < 0) return;
    this.#hint.textContent = `${object + 1} · ${number(this.#found.shapes.area[object])} px`;
    this.#hint.style.left = `${place.x}px`;
    this.#hint.style.top = `${place.y}px`;
  }

  #boxOf(object) {
    const { left, top, boxWidth, boxHeight } = this.#found.shapes;
    return { left: left[object], top: top[object], width: boxWidth[object], height: boxHeight[object] };
  }

  /** The outline in pixels of the image; null for no object. */
  #outlineOf(object) {
    if (object < 0) return null;
    const { ids, width } = this.#found;
    const step = this.#size.width / width;
    const box = this.#boxOf(object);
    const [left, top] = [Math.floor(box.left / step), Math.floor(box.top / step)];
    const shown = { left, top, width: Math.ceil(box.width / step) + 1, height: Math.ceil(box.height / step) + 1 };
    const path = new Path2D();
    for (const [x0, y0, x1, y1] of outlineOf(ids, width, object + 1, shown)) {
      path.moveTo(x0 * step, y0 * step);
      path.lineTo(x1 * step, y1 * step);
    }
    return path;
  }
}

// @ts-check
// The mode in which a person corrects the mask: the tools, their sizes, undo and redo, and strokes on the picture.

import { byId } from "../dom.js";
import { deleteRegion, Edit, HINTS, SIZES, ToolProblem } from "./tools.js";

const KEYS = { v: "select", b: "brush", e: "eraser", f: "fill", s: "split", m: "merge", d: "delete" };

export class CorrectionMode {
  #button = byId("correct");
  #size = byId("tool-size");
  #sizes = { ...SIZES };
  #tool = "select";
  /** @type {Edit | null} */
  #edit = null;

  /** The shown image; null for none. @type {import("../scene.js").Scene | null} */
  scene = null;

  /**
   * @param {import("../viewer.js").Viewer} viewer
   * @param {import("../object_view.js").ObjectView} objectView
   * @param {() => void} onEdit called when an edit has ended, or was undone
   */
  constructor(viewer, objectView, onEdit) {
    this.viewer = viewer;
    this.objectView = objectView;
    this.onEdit = onEdit;
    /** @type {import("../gestures.js").Strokes} */
    this.strokes = {
      isOn: false,
      begin: (point) => this.#begin(point),
      move: (point) => this.#step(() => this.#edit.move(point)),
      end: () => this.#finish(() => this.#edit.end()),
      cancel: () => this.#finish(() => this.#edit.cancel()),
    };
    this.#button.addEventListener("click", () => this.toggle());
    byId("tool-choice").addEventListener("change", ({ target }) => this.#choose(target.value));
    this.#size.addEventListener("input", () => this.#resize(this.#size.valueAsNumber));
    byId("undo").addEventListener("click", () => this.#change((page) => page.undo()));
    byId("redo").addEventListener("click", () => this.#change((page) => page.redo()));
    byId("discard").addEventListener("click", () => this.#change(discard));
    byId("changes").addEventListener("change", ({ target }) => {
      viewer.changes = target.checked;
      viewer.draw();
    });
    this.#followPointer(viewer.canvas);
    document.addEventListener("keydown", (event) => this.#followKey(event));
    this.#choose("select");
  }

  /** Whether the tools are shown. */
  get isOn() {
    return this.#button.getAttribute("aria-pressed") === "true";
  }

  /** Shows the tools, or hides them. */
  toggle() {
    this.#button.setAttribute("aria-pressed", String(!this.isOn));
    byId("tools").hidden = !this.isOn;
    this.#choose(this.#tool);
    this.prepare();
  }

  /** Gets the mask ready to be corrected, when it is shown. */
  async prepare() {
    this.show();
    if (!this.isOn || !this.scene) return;
    await this.scene.prepare().catch(({ message }) => this.#showProblem(message));
    this.show();
  }

  /** Shows what can be done with the shown page. */
  show() {
    const page = this.scene?.corrected ?? null;
    const isCorrected = page?.isCorrected ?? false;
    byId("undo").disabled = byId("discard").disabled = !isCorrected;
    byId("redo").disabled = !page?.canRedo;
    byId("tools").setAttribute("aria-busy", String(this.isOn && !page));
    byId("corrected-hint").hidden = !isCorrected;
    for (const id of ["threshold", "threshold-number", "reset", "min-area"]) byId(id).disabled = isCorrected;
  }

  /** @param {Record<number, string> | null} labels the classes that the brush paints, by value; null if there is one */
  set classes(labels) {
    byId("brush-class-field").hidden = !labels;
    const classes = Object.entries(labels ?? {}).filter(([value]) => Number(value) > 0);
    byId("brush-class").replaceChildren(...classes.map(([value, label]) => new Option(label, value)));
  }

  #choose(tool) {
    this.#tool = tool;
    const input = /** @type {HTMLInputElement} */ (document.querySelector(`#tool-choice [value="${tool}"]`));
    input.checked = true;
    this.strokes.isOn = this.isOn && tool !== "select";
    this.objectView.picks = !this.strokes.isOn;
    this.viewer.canvas.classList.toggle("drawing", this.strokes.isOn);
    this.viewer.brush = null;
    byId("tool-hint").textContent = HINTS[tool];
    byId("tool-size-field").hidden = !(tool in SIZES);
    if (tool in SIZES) this.#resize(this.#sizes[tool]);
    this.#showProblem("");
  }

  #resize(size) {
    this.#sizes[this.#tool] = this.#size.value = size;
    byId("tool-size-number").textContent = `${size} px`;
  }

  #followPointer(canvas) {
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      if (!this.strokes.isOn || !(this.#tool in SIZES)) return;
      this.viewer.brush = { ...this.viewer.placeAt(offsetX, offsetY), radius: this.#sizes[this.#tool] / 2 };
    });
    canvas.addEventListener("pointerleave", () => (this.viewer.brush = null));
  }

  #followKey(event) {
    const isFree = this.isOn && !event.defaultPrevented && !event.target.closest("dialog, select, input[type=number]");
    const act = isFree && this.#actionOf(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** What a key does; null for nothing. */
  #actionOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
    const letter = key.toLowerCase();
    if (altKey) return null;
    if (ctrlKey || metaKey) {
      if (letter === "z" && !shiftKey) return () => this.#change((page) => page.undo());
      if (letter === "y" || letter === "z") return () => this.#change((page) => page.redo());
      return null;
    }
    if (KEYS[key]) return () => this.#choose(KEYS[key]);
    const step = { ",": -2, ".": 2 }[key];
    if (step && this.#tool in SIZES) return () => this.#resize(Math.min(99, Math.max(1, this.#sizes[this.#tool] + step)));
    const seed = this.objectView.selectedSeed;
    if (["Delete", "Backspace"].includes(key) && seed >= 0) return () => this.#change((page) => deleteRegion(page, seed));
    return null;
  }

  #begin(point) {
    this.#showProblem("");
    const page = this.scene?.corrected;
    if (!page) return false; // it is not ready yet
    const options = { size: this.#sizes[this.#tool], classValue: Number(byId("brush-class").value) };
    this.#step(() => (this.#edit = new Edit(/** @type {any} */ (this.#tool), page, point, options)));
    return this.#edit !== null;
  }

  /** Does a step of an edit, and shows what it has changed. */
  #step(act) {
    try {
      act();
    } catch (problem) {
      if (!(problem instanceof ToolProblem)) throw problem;
      this.#showProblem(problem.message);
    }
    this.scene.showEdit();
  }

  #finish(act) {
    this.#step(act);
    this.#edit = null;
    this.#followEdit();
  }

  /** Changes the page at once. */
  #change(act) {
    const page = this.scene?.corrected;
    if (!page || this.#edit) return;
    act(page);
    this.#followEdit();
  }

  #followEdit() {
    this.scene.finishEdit();
    this.show();
    this.onEdit();
  }

  #showProblem(message) {
    byId("tool-problem").hidden = !message;
    byId("tool-problem").textContent = message;
  }
}

/** Undoes all edits; they can be done again. */
function discard(page) {
  while (page.isCorrected) page.undo();
}

// @ts-check
// The mask of a page while a person corrects it: its values, and the edits that can be undone.

/**
 * @typedef {object} Box pixels of the image
 * @property {number} left
 * @property {number} top
 * @property {number} right past the last column
 * @property {number} bottom past the last row
 */

/**
 * Whether a page has corrections that are not saved.
 *
 * @param {Map<number, CorrectedPage>} corrections of an image
 */
export function hasUnsaved(corrections) {
  return [...corrections.values()].some(({ isSaved }) => !isSaved);
}

const FIELDS = 4; // of a run of pixels in an edit: start, length, the value before, the value after

export class CorrectedPage {
  #done = []; // edits, each an array of runs
  #undone = [];
  #open = null; // the runs of the edit in progress
  #saved = null; // the last edit that is saved; null: none
  /** @type {Box | null} */
  #touched = null;

  /**
   * @param {object} mask as the service gave it
   * @param {import("../objects.js").Corrected["kind"]} mask.kind
   * @param {Uint8Array | Int32Array} mask.values one a pixel, row by row
   * @param {number} mask.width
   */
  constructor({ kind, values, width }) {
    this.kind = kind;
    this.values = values;
    this.width = width;
    this.height = values.length / width;
    this.original = values.slice();
  }

  /** Whether there are edits that are not undone. */
  get isCorrected() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** The last edit that is not undone; null if there is none. */
  get lastEdit() {
    return this.#done.at(-1) ?? null;
  }

  get isSaved() {
    return this.#saved === this.lastEdit;
  }

  /** Notes that the values are saved as they were after an edit. */
  markSaved(edit) {
    this.#saved = edit;
  }

  /** Begins an edit: what `put` changes until `commit` is undone at once. */
  begin() {
    this.#open = [];
  }

  /** Gives the pixels from index `start` to before `end`, in one row, a value. */
  put(start, end, value) {
    for (let at = start, stop = start; at < end; at = stop) {
      const before = this.values[at];
      while (stop < end && this.values[stop] === before) stop++;
      if (before === value) continue;
      this.#open.push(at, stop - at, before, value);
      this.#fill(at, stop - at, value);
    }
  }

  /** Ends the edit; it counts if it has changed something. */
  commit() {
    if (this.#open.length) {
      this.#done.push(Int32Array.from(this.#open));
      this.#undone = [];
    }
    this.#open = null;
  }

  /** Gives up the edit in progress. */
  cancel() {
    this.#revert(this.#open);
    this.#open = null;
  }

  /** Undoes the last edit, if there is one. */
  undo() {
    if (!this.#done.length) return;
    this.#undone.push(this.#done.pop());
    this.#revert(this.#undone.at(-1));
  }

  /** Does the edit again that was undone last, if there is one. */
  redo() {
    if (!this.#undone.length) return;
    const edit = this.#undone.pop();
    this.#done.push(edit);
    for (let at = 0; at < edit.length; at += FIELDS) this.#fill(edit[at], edit[at + 1], edit[at + 3]);
  }

  /** What changed since it was asked for last; null for nothing. */
  takeTouched() {
    const touched = this.#touched;
    this.#touched = null;
    return touched;
  }

  #revert(edit) {
    for (let at = edit.length - FIELDS; at >= 0; at -= FIELDS) this.#fill(edit[at], edit[at + 1], edit[at + 2]);
  }

  #fill(start, length, value) {
    this.values.fill(value, start, start + length);
    const [left, top] = [start % this.width, Math.floor(start / this.width)];
    const { left: l = left, top: t = top, right: r = 0, bottom: b = 0 } = this.#touched ?? {};
    const [right, bottom] = [left + length, top + 1];
    this.#touched = { left: Math.min(l, left), top: Math.min(t, top), right: Math.max(r, right), bottom: Math.max(b, bottom) };
  }
}

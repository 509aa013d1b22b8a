// @ts-check
// The table of objects: sorted by a column, with only the rows in the page that are seen.

import { byId, makeButton } from "./dom.js";
import { sortObjects } from "./columns.js";

const ROW = 28; // pixels, as in style.css
const SPARE = 10; // rows above and below those that are seen

export class ObjectTable {
  #frame = byId("table-frame");
  #table = byId("object-table");
  #head = byId("object-table").tHead;
  #body = byId("object-table").tBodies[0];
  /** @type {import("./columns.js").Column[]} */
  #columns = [];
  #rows = []; // indices of objects, in the order of the table
  #sort = { title: "Label", isDescending: false };
  #isIncluded = (_object) => true;
  #selected = -1; // an object

  /**
   * @param {(object: number) => void} onSelect called with the index of the object whose row is chosen
   * @param {(object: number) => void} onOpen called with the index of the object that is to be seen close by
   */
  constructor(onSelect, onOpen) {
    this.onSelect = onSelect;
    this.#frame.addEventListener("scroll", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#frame);
    this.#body.addEventListener("click", ({ target }) => this.#choose(Number(target.closest("tr").dataset.row)));
    this.#body.addEventListener("dblclick", () => onOpen(this.#selected));
    this.#table.addEventListener("keydown", (event) => {
      if (event.target !== this.#table) return; // a button of the head
      const row = this.#rowAfter(event.key);
      if (row !== null) this.#choose(Math.min(Math.max(row, 0), this.#rows.length - 1));
      else if (event.key === "Enter" && this.#selected >= 0) onOpen(this.#selected);
      else return;
      event.preventDefault();
    });
  }

  /** @param {import("./columns.js").Column[]} columns */
  show(columns) {
    const isSame = columns.map(({ title }) => title).join() === this.#columns.map(({ title }) => title).join();
    this.#columns = columns;
    if (!columns.some(({ title }) => title === this.#sort.title)) this.#sort = { title: "Label", isDescending: false };
    if (!isSame) this.#drawHead();
    this.#table.setAttribute("aria-colcount", columns.length);
    this.#arrange();
  }

  /** Drops the rows; the head and the sorting stay. */
  clear() {
    this.#rows = [];
    this.#draw();
  }

  /** @param {(object: number) => boolean} isIncluded chooses the objects that have a row */
  filter(isIncluded) {
    this.#isIncluded = isIncluded;
    this.#arrange();
  }

  /** The number of rows. */
  get length() {
    return this.#rows.length;
  }

  /** @param {number} object its index; -1 for none */
  select(object) {
    this.#selected = object;
    const row = this.#rows.indexOf(object);
    if (row >= 0) this.#scrollTo(row);
    this.#draw();
  }

  /** The row that a key leads to; null if the key leads to none. */
  #rowAfter(key) {
    const [row, page] = [this.#rows.indexOf(this.#selected), Math.floor(this.#seen / ROW) - 1];
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (key === "Home") return 0;
    if (key === "End") return this.#rows.length - 1;
    return key in steps ? row + steps[key] : null;
  }

  #choose(row) {
    if (this.#rows[row] !== undefined) this.onSelect(this.#rows[row]);
  }

  #sortBy(title) {
    const isDescending = this.#sort.title === title && !this.#sort.isDescending;
    this.#sort = { title, isDescending };
    this.#markSorted();
    this.#frame.scrollTop = 0;
    this.#arrange();
  }

  #arrange() {
    const column = this.#columns.find(({ title }) => title === this.#sort.title);
    this.#rows = column ? sortObjects(column.values, this.#sort.isDescending, this.#isIncluded) : [];
    this.#table.setAttribute("aria-rowcount", this.#rows.length + 1);
    this.#draw();
  }

  #drawHead() {
    const cells = this.#columns.map(({ title }) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.append(makeButton(title, () => this.#sortBy(title)));
      return cell;
    });
    const row = document.createElement("tr");
    row.setAttribute("aria-rowindex", "1");
    row.append(...cells);
    this.#head.replaceChildren(row);
    this.#markSorted();
  }

  #markSorted() {
    [...this.#head.rows[0].cells].forEach((cell, index) => {
      const isSorted = this.#columns[index].title === this.#sort.title;
      cell.ariaSort = isSorted ? (this.#sort.isDescending ? "descending" : "ascending") : "none";
    });
  }

  /** The height of the rows that are seen, pixels. */
  get #seen() {
    return this.#frame.clientHeight - this.#head.offsetHeight;
  }

  #scrollTo(row) {
    const [top, bottom] = [row * ROW, (row + 1) * ROW - this.#seen];
    if (this.#frame.scrollTop > top) this.#frame.scrollTop = top;
    else if (this.#frame.scrollTop < bottom) this.#frame.scrollTop = bottom;
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.#frame.scrollTop / ROW) - SPARE);
    const end = Math.min(this.#rows.length, Math.ceil((this.#frame.scrollTop + this.#seen) / ROW) + SPARE);
    const rows = this.#rows.slice(first, end).map((object, index) => this.#makeRow(object, first + index));
    this.#body.replaceChildren(makeSpace(first), ...rows, makeSpace(this.#rows.length - Math.max(first, end)));
    const isThere = rows.some((row) => row.id === rowId(this.#selected));
    if (isThere) this.#table.setAttribute("aria-activedescendant", rowId(this.#selected));
    else this.#table.removeAttribute("aria-activedescendant");
  }

  #makeRow(object, index) {
    const row = document.createElement("tr");
    row.id = rowId(object);
    row.dataset.row = String(index);
    row.setAttribute("aria-rowindex", String(index + 2));
    row.setAttribute("aria-selected", String(object === this.#selected));
    for (const { values, text } of this.#columns) row.insertCell().textContent = text(values[object]);
    return row;
  }
}

function rowId(object) {
  return `object-${object + 1}`;
}

/** A row as high as `count` rows that are not in the page. */
function makeSpace(count) {
  const space = document.createElement("tr");
  space.ariaHidden = "true";
  space.style.height = `${count * ROW}px`;
  return space;
}

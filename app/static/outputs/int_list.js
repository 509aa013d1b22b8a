// @ts-check
// Lists of whole numbers that grow: a few bytes a number, unlike arrays of objects.

export class IntList {
  #numbers = new Int32Array(1024);
  length = 0;

  /** @param {number} number of 32 bits */
  push(number) {
    if (this.length === this.#numbers.length) {
      const larger = new Int32Array(2 * this.length);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.length++] = number;
  }

  /** The numbers so far. */
  get numbers() {
    return this.#numbers.subarray(0, this.length);
  }
}

/**
 * Sorts items by the object that they belong to; items of one object keep their order.
 *
 * @param {Int32Array} owners the id of each item's object, from 1
 * @param {number} count of the objects
 * @returns {{ order: Int32Array, bounds: Int32Array }} items of the object with id `i` are `order[bounds[i - 1]]` to
 *   `order[bounds[i] - 1]`
 */
export function groupByObject(owners, count) {
  const bounds = new Int32Array(count + 1);
  for (const owner of owners) bounds[owner]++;
  for (let id = 1; id <= count; id++) bounds[id] += bounds[id - 1];
  const next = bounds.slice();
  const order = new Int32Array(owners.length);
  for (let item = 0; item < owners.length; item++) order[next[owners[item] - 1]++] = item;
  return { order, bounds };
}

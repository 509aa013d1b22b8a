// @ts-check
// The watershed of scikit-image, pixel by pixel: the lines of the page are those of the service.

const LINE = -1;
const AGES = 2 ** 40; // more than the pixels that wait at any time; a key is a level and an age

/**
 * Grows objects over a relief, lowest pixels first, until 4-connected lines of one pixel separate the objects.
 *
 * @param {Int32Array} ids the objects, changed in place; 0 is to be grown over. Lines are 0 in the result.
 * @param {Uint8Array} relief
 * @param {number} width
 */
export function growObjects(ids, relief, width) {
  const heap = new Heap(ids.length + 1);
  for (let pixel = 0; pixel < ids.length; pixel++) if (ids[pixel]) heap.push(relief[pixel] * AGES, pixel, 0);
  let age = 0;
  let [id, level, meets] = [0, 0, false]; // of the pixel whose neighbours are visited
  const meet = (pixel) => (meets ||= ids[pixel] > 0 && ids[pixel] !== id);
  const reach = (pixel) => {
    if (!ids[pixel]) heap.push(Math.max(level, relief[pixel]) * AGES + ++age, pixel, id);
  };
  while (heap.size) {
    heap.pop();
    const { pixel, key, source } = heap;
    if (source && ids[pixel] > 0) continue; // another object was here first
    [id, level, meets] = [source || ids[pixel], Math.floor(key / AGES), false];
    if (!ids[pixel]) {
      forNeighbours(pixel, width, ids.length, meet);
      ids[pixel] = meets ? LINE : id;
    }
    forNeighbours(pixel, width, ids.length, reach);
  }
  for (let pixel = 0; pixel < ids.length; pixel++) if (ids[pixel] === LINE) ids[pixel] = 0;
}

/**
 * A binary heap, lowest key first. Of equal keys, one is as first as the other, so the order depends on the steps of
 * this very algorithm: scikit-image's.
 */
class Heap {
  size = 0;
  key = 0; // of the item that was taken out last, as the next two
  pixel = 0;
  source = 0;
  #keys;
  #pixels;
  #sources;

  /** @param {number} space number of items that fit at first */
  constructor(space) {
    [this.#keys, this.#pixels, this.#sources] = [new Float64Array(space), new Int32Array(space), new Int32Array(space)];
  }

  /**
   * @param {number} key
   * @param {number} pixel
   * @param {number} source id of the object that reaches the pixel; 0 for a pixel of an object
   */
  push(key, pixel, source) {
    if (this.size === this.#keys.length) this.#grow();
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (key >= this.#keys[parent]) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, key, pixel, source);
  }

  /** Takes the first item out, into `key`, `pixel` and `source`. */
  pop() {
    const [keys, last] = [this.#keys, --this.size];
    [this.key, this.pixel, this.source] = [keys[0], this.#pixels[0], this.#sources[0]];
    const key = keys[last];
    let at = 0;
    for (let left = 1; left < last; left = 2 * at + 1) {
      let next = keys[left] < key ? left : at;
      if (left + 1 < last && keys[left + 1] < (next === at ? key : keys[left])) next = left + 1;
      if (next === at) break;
      this.#move(next, at);
      at = next;
    }
    this.#put(at, key, this.#pixels[last], this.#sources[last]);
  }

  #move(from, to) {
    this.#put(to, this.#keys[from], this.#pixels[from], this.#sources[from]);
  }

  #put(at, key, pixel, source) {
    this.#keys[at] = key;
    this.#pixels[at] = pixel;
    this.#sources[at] = source;
  }

  #grow() {
    const larger = (array) => {
      const copy = new array.constructor(2 * array.length);
      copy.set(array);
      return copy;
    };
    [this.#keys, this.#pixels, this.#sources] = [this.#keys, this.#pixels, this.#sources].map(larger);
  }
}

function forNeighbours(pixel, width, length, visit) {
  const column = pixel % width;
  if (pixel >= width) visit(pixel - width);
  if (column > 0) visit(pixel - 1);
  if (column + 1 < width) visit(pixel + 1);
  if (pixel + width < length) visit(pixel + width);
}

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
  const queue = new Heap(ids.length + 1);
  for (let pixel = 0; pixel < ids.length; pixel++) if (ids[pixel]) queue.push(relief[pixel] * AGES, pixel, 0);
  let age = 0;
  while (queue.size) {
    const [key, pixel, source] = [queue.keys[0], queue.pixels[0], queue.sources[0]];
    queue.removeFirst();
    if (source && ids[pixel] > 0) continue; // another object was here first
    const [id, level] = [source || ids[pixel], Math.floor(key / AGES)];
    const column = pixel % width;
    const above = pixel - width; // below 0, as the others, if there is none
    const left = column > 0 ? pixel - 1 : -1;
    const right = column + 1 < width ? pixel + 1 : -1;
    const below = pixel + width < ids.length ? pixel + width : -1;
    const isOther = (neighbour) => neighbour >= 0 && ids[neighbour] > 0 && ids[neighbour] !== id;
    const reach = (neighbour) => {
      if (neighbour < 0 || ids[neighbour]) return;
      queue.push(Math.max(level, relief[neighbour]) * AGES + ++age, neighbour, id);
    };
    if (!ids[pixel]) ids[pixel] = isOther(above) || isOther(left) || isOther(right) || isOther(below) ? LINE : id;
    reach(above);
    reach(left);
    reach(right);
    reach(below);
  }
  for (let pixel = 0; pixel < ids.length; pixel++) if (ids[pixel] === LINE) ids[pixel] = 0;
}

/**
 * A binary heap, lowest key first. Of equal keys, one is as first as the other, so the order depends on the steps of
 * this very algorithm: scikit-image's. `sources` are the ids of objects that reach the pixels; 0 for pixels of objects.
 */
class Heap {
  size = 0;

  /** @param {number} space number of items that fit at first */
  constructor(space) {
    this.keys = new Float64Array(space);
    this.pixels = new Int32Array(space);
    this.sources = new Int32Array(space);
  }

  push(key, pixel, source) {
    if (this.size === this.keys.length) this.#grow();
    const { keys, pixels, sources } = this;
    let at = this.size++;
    for (let parent = (at - 1) >> 1; at > 0 && key < keys[parent]; parent = (at - 1) >> 1) {
      keys[at] = keys[parent];
      pixels[at] = pixels[parent];
      sources[at] = sources[parent];
      at = parent;
    }
    keys[at] = key;
    pixels[at] = pixel;
    sources[at] = source;
  }

  removeFirst() {
    const { keys, pixels, sources } = this;
    const last = --this.size;
    const key = keys[last];
    let at = 0;
    for (let left = 1; left < last; left = 2 * at + 1) {
      let next = keys[left] < key ? left : at;
      if (left + 1 < last && keys[left + 1] < (next === at ? key : keys[left])) next = left + 1;
      if (next === at) break;
      keys[at] = keys[next];
      pixels[at] = pixels[next];
      sources[at] = sources[next];
      at = next;
    }
    keys[at] = key;
    pixels[at] = pixels[last];
    sources[at] = sources[last];
  }

  #grow() {
    const larger = (array) => {
      const copy = new array.constructor(2 * array.length);
      copy.set(array);
      return copy;
    };
    [this.keys, this.pixels, this.sources] = [this.keys, this.pixels, this.sources].map(larger);
  }
}

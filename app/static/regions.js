// @ts-check
// Connected components, numbered as in model/outputs/objects.py.

/**
 * @typedef {object} Labels
 * @property {Int32Array} ids 0 is background, 1 to `count` are the objects; one a pixel, row by row
 * @property {number} count
 */

/**
 * Labels the 4-connected components of equal value; 0 is background. Components are numbered by their value, those of
 * one value by their first pixel, row by row.
 *
 * @param {ArrayLike<number>} values one a pixel, row by row
 * @param {number} width
 * @returns {Labels}
 */
export function findRegions(values, width) {
  const ids = new Int32Array(values.length); // of parts, until the parts of a component are known
  const parents = [0];
  const valueOf = [0];
  for (let i = 0, x = 0; i < values.length; i++, x = x + 1 === width ? 0 : x + 1) {
    const value = values[i];
    if (!value) continue;
    const above = i >= width && values[i - width] === value ? root(parents, ids[i - width]) : 0;
    const left = x > 0 && values[i - 1] === value ? root(parents, ids[i - 1]) : 0;
    if (!above && !left) {
      valueOf.push(value);
      ids[i] = parents.push(parents.length) - 1;
      continue;
    }
    ids[i] = above && left ? Math.min(above, left) : above || left;
    if (above && left) parents[Math.max(above, left)] = ids[i];
  }
  return renumber(ids, parents, valueOf);
}

/**
 * Removes objects with fewer than `minArea` pixels and numbers the others without gaps.
 *
 * @param {Labels} labels
 * @param {number} minArea
 * @returns {Labels}
 */
export function dropSmall({ ids, count }, minArea) {
  if (minArea <= 1) return { ids, count };
  const areas = new Uint32Array(count + 1);
  for (const id of ids) areas[id]++;
  const numbers = new Int32Array(count + 1);
  let kept = 0;
  for (let id = 1; id <= count; id++) if (areas[id] >= minArea) numbers[id] = ++kept;
  return { ids: ids.map((id) => numbers[id]), count: kept };
}

function renumber(ids, parents, valueOf) {
  const roots = parents.map((_, part) => part).filter((part) => part > 0 && parents[part] === part);
  roots.sort((first, second) => valueOf[first] - valueOf[second]); // stable: in the order of first pixels
  const numbers = new Int32Array(parents.length);
  roots.forEach((part, index) => (numbers[part] = index + 1));
  for (let part = 1; part < parents.length; part++) numbers[part] = numbers[root(parents, part)];
  for (let i = 0; i < ids.length; i++) ids[i] = numbers[ids[i]];
  return { ids, count: roots.length };
}

function root(parents, part) {
  while (parents[part] !== part) {
    parents[part] = parents[parents[part]];
    part = parents[part];
  }
  return part;
}

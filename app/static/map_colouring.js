// @ts-check
// Colours for objects so that neighbours differ, as countries on a map.

const REACH = 2; // pixels: a line of one pixel may lie between neighbours

/**
 * Chooses one of `colours` colours for each object, another one than its neighbours' while there are enough.
 *
 * @param {import("./regions.js").Labels} labels
 * @param {number} width
 * @param {number} colours at most 31
 * @returns {Uint8Array} the index of a colour for each id; that of id 0 means nothing
 */
export function chooseColours({ ids, count }, width, colours) {
  const neighbours = neighboursOf(ids, width);
  const chosen = new Uint8Array(count + 1);
  const isChosen = new Uint8Array(count + 1);
  for (let id = 1; id <= count; id++) {
    let taken = 0;
    for (const each of neighbours.get(id) ?? []) if (isChosen[each]) taken |= 1 << chosen[each];
    let colour = id % colours; // not always the first one, so that all of them are seen
    for (let tries = 0; tries < colours && taken & (1 << colour); tries++) colour = (colour + 1) % colours;
    [chosen[id], isChosen[id]] = [colour, 1];
  }
  return chosen;
}

/** @returns {Map<number, Set<number>>} */
function neighboursOf(ids, width) {
  const found = new Map();
  const add = (first, second) => {
    if (!found.has(first)) found.set(first, new Set());
    found.get(first).add(second);
  };
  const meet = (first, second) => {
    if (!second || first === second) return;
    add(first, second);
    add(second, first);
  };
  for (let i = 0, x = 0; i < ids.length; i++, x = x + 1 === width ? 0 : x + 1) {
    if (!ids[i]) continue;
    for (let far = 1; far <= REACH; far++) {
      if (x + far < width) meet(ids[i], ids[i + far]);
      if (i + far * width < ids.length) meet(ids[i], ids[i + far * width]);
    }
    if (x + 1 < width && i + width < ids.length) meet(ids[i], ids[i + width + 1]);
    if (x > 0 && i + width < ids.length) meet(ids[i], ids[i + width - 1]);
  }
  return found;
}

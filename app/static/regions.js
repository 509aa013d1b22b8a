// @ts-check
// Objects: the 4-connected regions of equal value, 0 being background.

/** The areas in pixels of all regions of `values`, one a pixel, row by row. */
export function areasOf(values, width) {
  const parent = [0];
  const area = [0];
  const row = new Int32Array(width); // the region of each pixel of this row so far, and of the row above from there on
  for (let i = 0, x = 0; i < values.length; i++, x = x + 1 === width ? 0 : x + 1) {
    const value = values[i];
    const above = value && i >= width && values[i - width] === value ? root(parent, row[x]) : 0;
    const left = value && x > 0 && values[i - 1] === value ? root(parent, row[x - 1]) : 0;
    if (!value) {
      row[x] = 0;
      continue;
    }
    if (!above && !left) {
      row[x] = parent.push(parent.length) - 1;
      area.push(1);
      continue;
    }
    row[x] = above || left;
    area[row[x]]++;
    if (above && left && above !== left) {
      parent[left] = above;
      area[above] += area[left];
    }
  }
  return Uint32Array.from(area.filter((_, region) => region > 0 && parent[region] === region));
}

function root(parent, region) {
  while (parent[region] !== region) {
    parent[region] = parent[parent[region]];
    region = parent[region];
  }
  return region;
}

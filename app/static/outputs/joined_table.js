// @ts-check
// One table of the objects in many images, as model/predict/folder_table.py.

import { quote } from "./table.js";

/**
 * Joins tables. The columns are those of all tables, after a column `file` with the image. A row has nothing in the columns
 * that its image's table lacks.
 *
 * @param {{ image: string, text: string }[]} tables CSV files as `joinTables` writes them
 * @returns {string} CSV
 */
export function joinCsv(tables) {
  const parsed = tables.map(({ image, text }) => {
    const [names, ...rows] = text.split("\r\n").slice(0, -1);
    return { image: quote(image), names: splitRow(names), rows };
  });
  const columns = [...new Set(parsed.flatMap(({ names }) => names))];
  const lines = [["file", ...columns].join()];
  for (const { image, names, rows } of parsed) {
    const places = columns.map((column) => names.indexOf(column));
    for (const row of rows) {
      const cells = splitRow(row);
      lines.push([image, ...places.map((place) => cells[place] ?? "")].join());
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

/** The cells of a row, with their quotes. Names of classes hold no line breaks. */
function splitRow(row) {
  return Array.from(`,${row}`.matchAll(/,("(?:[^"]|"")*"|[^,]*)/g), ([, cell]) => cell);
}

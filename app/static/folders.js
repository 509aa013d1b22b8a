// @ts-check
// Dropped folders, with the folders in them.

/**
 * The files in dropped entries, sorted by their paths.
 *
 * @param {any[]} entries as `webkitGetAsEntry` gives them
 * @returns {Promise<File[]>}
 */
export async function filesIn(entries) {
  const sorted = [...entries].sort((first, second) => first.name.localeCompare(second.name, "en", { numeric: true }));
  const files = await Promise.all(sorted.map(async (entry) => (entry.isDirectory ? filesIn(await list(entry)) : [await open(entry)])));
  return files.flat();
}

/** The entries in a folder; browsers give them in parts, the last of which is empty. */
async function list(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return entries;
    entries.push(...part);
  }
}

function open(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

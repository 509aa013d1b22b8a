import assert from "node:assert/strict";
import { test } from "node:test";

import { filesIn } from "../../app/static/folders.js";

const fileEntry = (name) => ({ name, isDirectory: false, file: (resolve) => resolve({ name }) });

/** A folder whose entries come in parts of two, as browsers give parts of a hundred. */
function folderEntry(name, entries) {
  const createReader = () => {
    const left = [...entries];
    return { readEntries: (resolve) => resolve(left.splice(0, 2)) };
  };
  return { name, isDirectory: true, createReader };
}

test("all files of a folder and of the folders in it are found, in the order of their names", async () => {
  const inner = folderEntry("b", [fileEntry("10.png"), fileEntry("9.png"), fileEntry("notes.txt")]);
  const files = await filesIn([fileEntry("z.png"), folderEntry("a", [fileEntry("c.png"), inner])]);
  assert.deepEqual(files.map(({ name }) => name), ["9.png", "10.png", "notes.txt", "c.png", "z.png"]);
});

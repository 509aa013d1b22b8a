// @ts-check
// The ways in which files come: picked, dropped anywhere, pasted; folders are dropped only.

import { isImage } from "./check.js";
import { filesIn } from "./folders.js";

/**
 * @param {object} options
 * @param {HTMLInputElement} options.picker
 * @param {Document} options.target where files are dropped and pasted
 * @param {(files: File[]) => void} options.onFiles
 * @param {(files: File[]) => void} options.onSkipped called with the files of dropped folders that are not images
 */
export function collectFiles({ picker, target, onFiles, onSkipped }) {
  picker.addEventListener("change", () => {
    onFiles([...picker.files]);
    picker.value = ""; // so that the same file can be chosen again
  });
  target.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) onFiles(files);
  });
  const mark = (isOver) => document.documentElement.classList.toggle("dropping", isOver);
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  target.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  target.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(false);
    const { files, items } = event.dataTransfer;
    const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry);
    if (!entries.some(({ isDirectory }) => isDirectory)) return onFiles([...files]);
    const found = await filesIn(entries);
    const areImages = await Promise.all(found.map(isImage));
    onFiles(found.filter((_, index) => areImages[index]));
    onSkipped(found.filter((_, index) => !areImages[index]));
  });
}

const MOST_NAMES = 5;

/** A sentence that counts and names the files that were skipped. */
export function describeSkipped(files) {
  const names = files.slice(0, MOST_NAMES).map(({ name }) => name);
  const more = files.length > MOST_NAMES ? [`${files.length - MOST_NAMES} more`] : [];
  const list = new Intl.ListFormat("en").format([...names, ...more]);
  return `${files.length} ${files.length === 1 ? "file is not an image" : "files are not images"}: ${list}.`;
}

// @ts-check
// The ways in which files come: picked, dropped anywhere, pasted.

/** `onFiles` is called with an array of files. */
export function collectFiles({ picker, target, onFiles }) {
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
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    onFiles([...event.dataTransfer.files]);
  });
}

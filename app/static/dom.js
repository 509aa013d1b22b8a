// @ts-check
// Elements of the page by their ids.

/**
 * @param {string} id of an element that index.html has
 * @returns {any} the element, of any kind: inputs, dialogs, canvases
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * @param {string} text
 * @param {() => void} onClick
 */
export function makeButton(text, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", onClick);
  return button;
}

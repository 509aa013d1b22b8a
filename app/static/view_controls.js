// @ts-check
// Controls of the view: mode, opacity, outlines, zoom, and the legend of classes.

import { byId } from "./dom.js";
import { colourOf } from "./paint.js";

/**
 * Makes the controls of index.html change the viewer. `zoom`: the functions of gestures.js. Returns `next`, which chooses
 * the next view.
 */
export function connectViewControls(viewer, zoom) {
  for (const [id, act] of Object.entries({ "zoom-in": zoom.zoomIn, "zoom-out": zoom.zoomOut, fit: zoom.fit })) {
    byId(id).addEventListener("click", act);
  }
  const [opacity, outlines] = [byId("opacity"), byId("outlines")];
  const show = () => {
    viewer.opacity = opacity.valueAsNumber / 100;
    viewer.outlines = outlines.checked;
    byId("opacity-number").textContent = `${opacity.value}%`;
    viewer.draw();
  };
  byId("modes").addEventListener("change", ({ target }) => (viewer.mode = target.value));
  opacity.addEventListener("input", show);
  outlines.addEventListener("change", show);
  show();
  const next = () => {
    const modes = /** @type {HTMLInputElement[]} */ ([...byId("modes").querySelectorAll("input")]);
    if (!byId("modes").disabled) modes[(modes.findIndex(({ checked }) => checked) + 1) % modes.length].click();
  };
  return { next };
}

/** Lists the classes with their colours. `labels`: meaning of each value of a mask. */
export function showLegend(labels) {
  const classes = Object.entries(labels).filter(([value]) => Number(value) > 0);
  byId("legend").replaceChildren(
    ...classes.map(([value, label]) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.backgroundColor = `rgb(${colourOf(Number(value))})`;
      item.append(swatch, label);
      return item;
    }),
  );
}

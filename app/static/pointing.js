// @ts-check
// Pointing at places of the image: hovering and clicking.

const STILL = 4; // pixels of the screen: a pointer that moves farther between press and release drags

/**
 * Points are in pixels of the image, null outside of it.
 *
 * @param {import("./viewer.js").Viewer} viewer
 * @param {object} calls
 * @param {(point: { x: number, y: number } | null, place: { x: number, y: number }) => void} calls.onHover also called
 *   with the place on the canvas
 * @param {(point: { x: number, y: number } | null) => void} calls.onPick
 */
export function followPointer(viewer, { onHover, onPick }) {
  const { canvas } = viewer;
  let pressed = null;
  canvas.addEventListener("pointerdown", ({ offsetX, offsetY }) => (pressed = { x: offsetX, y: offsetY }));
  canvas.addEventListener("pointerup", ({ offsetX, offsetY }) => {
    const isStill = pressed && Math.hypot(offsetX - pressed.x, offsetY - pressed.y) <= STILL;
    pressed = null;
    if (isStill) onPick(viewer.pointAt(offsetX, offsetY));
  });
  canvas.addEventListener("pointermove", ({ offsetX, offsetY, buttons }) => {
    onHover(buttons ? null : viewer.pointAt(offsetX, offsetY), { x: offsetX, y: offsetY });
  });
  canvas.addEventListener("pointerleave", () => onHover(null, { x: 0, y: 0 }));
}

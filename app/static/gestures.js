// @ts-check
// Wheel, fingers, mouse and keys to the viewer's zoom and pan.

const STEP = 1.25; // of a key or button
const PAN = 60; // pixels of the screen, of an arrow key

export function followGestures(viewer) {
  const { canvas } = viewer;
  const pointers = new Map();

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
  });
  canvas.addEventListener("dblclick", (event) => {
    viewer.zoom(2, event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  for (const ended of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(ended, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = spanOf(pointers);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const after = spanOf(pointers);
    viewer.pan(after.x - before.x, after.y - before.y);
    if (before.length) viewer.zoom(after.length / before.length, after.x, after.y);
  });
  canvas.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(viewer);
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key === " ") viewer.hidden = false;
  });
  return {
    zoomIn: () => viewer.zoom(STEP),
    zoomOut: () => viewer.zoom(1 / STEP),
    fit: () => viewer.fit(),
  };
}

const KEYS = {
  "+": (viewer) => viewer.zoom(STEP),
  "=": (viewer) => viewer.zoom(STEP),
  "-": (viewer) => viewer.zoom(1 / STEP),
  0: (viewer) => viewer.fit(),
  ArrowLeft: (viewer) => viewer.pan(PAN, 0),
  ArrowRight: (viewer) => viewer.pan(-PAN, 0),
  ArrowUp: (viewer) => viewer.pan(0, PAN),
  ArrowDown: (viewer) => viewer.pan(0, -PAN),
  " ": (viewer) => (viewer.hidden = true),
};

/** The middle of one or two fingers, and how far apart two are (0 for one). */
function spanOf(pointers) {
  const [first, second = first] = [...pointers.values()];
  return {
    x: (first.x + second.x) / 2,
    y: (first.y + second.y) / 2,
    length: Math.hypot(first.x - second.x, first.y - second.y),
  };
}

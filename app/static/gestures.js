// @ts-check
// Wheel, fingers, mouse and keys to the viewer's zoom and pan, and to strokes of a tool.

const STEP = 1.25; // of a key or button
const PAN = 60; // pixels of the screen, of an arrow key

/**
 * One pointer makes strokes while a tool is chosen; two fingers, or another button of the mouse, move the image.
 *
 * @param {import("./viewer.js").Viewer} viewer
 * @param {Strokes} strokes
 *
 * @typedef {object} Strokes
 * @property {boolean} isOn whether a tool is chosen
 * @property {(point: Point) => boolean} begin at a point of the image; returns whether a stroke has begun
 * @property {(point: Point) => void} move
 * @property {() => void} end
 * @property {() => void} cancel
 *
 * @typedef {{ x: number, y: number }} Point in pixels of the image
 */
export function followGestures(viewer, strokes) {
  const { canvas } = viewer;
  const pointers = new Map();
  let isDrawing = false;
  const finish = (act) => {
    if (isDrawing) act();
    isDrawing = false;
  };

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
  });
  canvas.addEventListener("dblclick", (event) => {
    if (!strokes.isOn) viewer.zoom(2, event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    if (pointers.size > 1) finish(strokes.cancel); // it was the first finger of two
    else if (strokes.isOn && event.button === 0) isDrawing = strokes.begin(viewer.placeAt(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("contextmenu", (event) => {
    if (strokes.isOn) event.preventDefault(); // that button moves the image
  });
  for (const [ended, act] of Object.entries({ pointerup: strokes.end, pointercancel: strokes.cancel })) {
    canvas.addEventListener(ended, (event) => {
      pointers.delete(event.pointerId);
      finish(act);
    });
  }
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    if (isDrawing) {
      for (const point of pointsOf(event, canvas)) strokes.move(viewer.placeAt(point.x, point.y));
      return;
    }
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

/** The places on the canvas where the pointer was since the event before. */
function pointsOf(event, canvas) {
  const { left, top } = canvas.getBoundingClientRect();
  const events = event.getCoalescedEvents?.() ?? [];
  return (events.length ? events : [event]).map(({ clientX, clientY }) => ({ x: clientX - left, y: clientY - top }));
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

// @ts-check
// The picture with its mask on a canvas: what is drawn, and where.

const LARGEST_SCALE = 40; // screen pixels for one of the image
const BLINK_MS = 700;
// black between two white lines is seen on anything
const OUTLINE = [
  { colour: "#fff", share: 2 },
  { colour: "#000", share: 1 },
];
const ROOM = 0.5; // share of the canvas that an object takes when it is shown large

export class Viewer {
  #layers = null;
  #size = { width: 1, height: 1 };
  #centre = { x: 0, y: 0 };
  #zoom = 1; // times the scale at which the image fits
  #mode = "overlay";
  #hidden = false; // the mask, for a moment
  #instances = null;
  #outlines = { selected: null, hovered: null };
  #brush = null;
  #timer = 0;
  #planned = false;

  constructor(canvas) {
    this.canvas = canvas;
    this.opacity = 0.3;
    this.outlines = true;
    this.changes = true; // whether the layer of changes is drawn
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** `layers`: canvases `image`, `fill`, `outline` and `changes`, as far as there are; `size`: the image's. One of the same size as
   * before is shown at the same place. */
  show(layers, size) {
    const same = this.#layers && size.width === this.#size.width && size.height === this.#size.height;
    [this.#layers, this.#size] = [layers, size];
    if (same) this.draw();
    else this.fit();
  }

  clear() {
    this.#layers = null;
    this.draw();
  }

  fit() {
    this.#zoom = 1;
    this.#centre = { x: this.#size.width / 2, y: this.#size.height / 2 };
    this.draw();
  }

  /** The objects, see instances.js; null for none. */
  set instances(instances) {
    this.#instances = instances;
    this.draw();
  }

  /** The outline of an object, a Path2D in pixels of the image; null for none. */
  set outlineSelected(path) {
    this.#outlines.selected = path;
    this.draw();
  }

  /** The outline of the object under the pointer, a Path2D; null for none. */
  set outlineHovered(path) {
    if (path === this.#outlines.hovered) return;
    this.#outlines.hovered = path;
    this.draw();
  }

  /** The circle that a tool would paint, `{ x, y, radius }` in pixels of the image; null for none. */
  set brush(brush) {
    this.#brush = brush;
    this.draw();
  }

  /** overlay, side (by side), blink or objects. */
  set mode(mode) {
    this.#mode = mode;
    clearInterval(this.#timer);
    this.#hidden = false;
    if (mode === "blink") this.#timer = setInterval(() => (this.hidden = !this.#hidden), BLINK_MS);
    this.draw();
  }

  set hidden(hidden) {
    this.#hidden = hidden;
    this.draw();
  }

  get isZoomed() {
    return this.#zoom > 1;
  }

  /** Moves by pixels of the screen. */
  pan(dx, dy) {
    this.#centre.x -= dx / this.#scale;
    this.#centre.y -= dy / this.#scale;
    this.#stayInside();
  }

  /** The point of the image at a place of the canvas; null outside of the image. */
  pointAt(x, y) {
    const point = this.placeAt(x, y);
    const { width, height } = this.#size;
    return point.x >= 0 && point.y >= 0 && point.x < width && point.y < height ? point : null;
  }

  /** Likewise, with points outside of the image. */
  placeAt(x, y) {
    const pane = this.#paneAt(x, y);
    return {
      x: this.#centre.x + (x - pane.x - pane.width / 2) / this.#scale,
      y: this.#centre.y + (y - pane.y - pane.height / 2) / this.#scale,
    };
  }

  /** Moves to a box of the image if a part of it is outside of the canvas; zooms out if it does not fit. */
  reveal(box) {
    const [pane] = this.#panes;
    const isSeen = (start, length, middle, seen) =>
      start >= middle - seen / 2 - 0.01 && start + length <= middle + seen / 2 + 0.01;
    const isAllSeen =
      isSeen(box.left, box.width, this.#centre.x, pane.width / this.#scale) &&
      isSeen(box.top, box.height, this.#centre.y, pane.height / this.#scale);
    if (!isAllSeen) this.#showBox(box, this.#zoom);
  }

  /** Shows a box of the image large. */
  zoomTo(box) {
    this.#showBox(box, Infinity);
  }

  #showBox(box, mostZoom) {
    const [pane] = this.#panes;
    const scale = Math.min(pane.width / box.width, pane.height / box.height) * ROOM;
    const fitting = this.#fittingScale;
    this.#zoom = Math.max(1, Math.min(mostZoom, scale / fitting, LARGEST_SCALE / fitting));
    this.#centre = { x: box.left + box.width / 2, y: box.top + box.height / 2 };
    this.#stayInside();
  }

  /** Zooms about a point of the canvas, its middle unless given. */
  zoom(factor, x = null, y = null) {
    const pane = this.#paneAt(x, y);
    const [dx, dy] = x === null ? [0, 0] : [x - pane.x - pane.width / 2, y - pane.y - pane.height / 2];
    const before = this.#scale;
    this.#zoom = Math.min(Math.max(1, this.#zoom * factor), Math.max(1, LARGEST_SCALE / this.#fittingScale));
    this.#centre.x += dx / before - dx / this.#scale;
    this.#centre.y += dy / before - dy / this.#scale;
    this.#stayInside();
  }

  /** With the next frame, however often it is asked for until then. */
  draw() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#drawNow();
    });
  }

  get #panes() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (this.#mode !== "side") return [{ x: 0, y: 0, width, height }];
    const gap = 8;
    if (width >= height) {
      const half = (width - gap) / 2;
      return [0, half + gap].map((x) => ({ x, y: 0, width: half, height }));
    }
    const half = (height - gap) / 2;
    return [0, half + gap].map((y) => ({ x: 0, y, width, height: half }));
  }

  #paneAt(x, y) {
    const holds = (pane) => x >= pane.x && y >= pane.y && x < pane.x + pane.width && y < pane.y + pane.height;
    return this.#panes.find(holds) ?? this.#panes[0];
  }

  get #fittingScale() {
    const [pane] = this.#panes;
    return Math.min(pane.width / this.#size.width, pane.height / this.#size.height) || 1;
  }

  get #scale() {
    return this.#zoom * this.#fittingScale;
  }

  #stayInside() {
    const [pane] = this.#panes;
    const { width, height } = this.#size;
    this.#centre.x = within(this.#centre.x, width, pane.width / this.#scale);
    this.#centre.y = within(this.#centre.y, height, pane.height / this.#scale);
    this.draw();
  }

  #drawNow() {
    const { canvas } = this;
    canvas.classList.toggle("zoomed", this.isZoomed); // then a finger moves the picture; else it scrolls the page
    const density = window.devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * density);
    canvas.height = Math.round(canvas.clientHeight * density);
    if (!this.#layers) return;
    const context = canvas.getContext("2d");
    this.#panes.forEach((pane, index) => {
      context.save();
      context.scale(density, density);
      context.beginPath();
      context.rect(pane.x, pane.y, pane.width, pane.height);
      context.clip();
      context.translate(pane.x + pane.width / 2, pane.y + pane.height / 2);
      context.scale(this.#scale, this.#scale);
      context.translate(-this.#centre.x, -this.#centre.y);
      context.imageSmoothingEnabled = this.#scale * density < 2; // beyond that one wants to see the pixels
      this.#drawLayers(context, this.#mode === "side" ? index === 1 : !this.#hidden);
      context.restore();
    });
  }

  #drawLayers(context, withMask) {
    const { image, changes } = this.#layers;
    const { fill, outline } = (this.#mode === "objects" && this.#instances?.layers) || this.#layers;
    const put = (layer, opacity) => {
      if (!layer || !opacity) return;
      context.globalAlpha = opacity;
      context.drawImage(layer, 0, 0, this.#size.width, this.#size.height);
    };
    put(image, 1);
    if (!withMask || (this.#mode === "side" && this.#hidden)) return;
    put(fill, this.opacity);
    if (this.outlines) put(outline, 1);
    if (this.changes) put(changes, 1);
    put(this.#instances?.veil, 1);
    context.globalAlpha = 1;
    this.#drawOutline(context, this.#outlines.selected, 3);
    this.#drawOutline(context, this.#outlines.hovered, 1.5);
    this.#drawOutline(context, this.#brush && circle(this.#brush), 1);
  }

  /** Strokes a path, `width` in pixels of the screen. */
  #drawOutline(context, path, width) {
    if (!path) return;
    context.lineCap = "square";
    for (const { colour, share } of OUTLINE) {
      context.strokeStyle = colour;
      context.lineWidth = (share * width) / this.#scale;
      context.stroke(path);
    }
  }
}

function circle({ x, y, radius }) {
  const path = new Path2D();
  path.arc(x, y, radius, 0, 2 * Math.PI);
  return path;
}

/** The middle of what is seen, `seen` long, so that it does not leave the image, `length` long. */
function within(middle, length, seen) {
  if (seen >= length) return length / 2;
  return Math.min(Math.max(middle, seen / 2), length - seen / 2);
}

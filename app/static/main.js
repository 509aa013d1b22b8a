// @ts-check
// Puts the page together.

import { describeModel, setKey } from "./api.js";
import { makeDownloads } from "./downloads.js";
import { Filmstrip } from "./filmstrip.js";
import { followGestures } from "./gestures.js";
import { collectFiles } from "./intake.js";
import { colourOf } from "./mask.js";
import { loadPicture } from "./picture.js";
import { Queue } from "./queue.js";
import { Scene } from "./scene.js";
import { drawHistogram, number, percent, summarise } from "./statistics.js";
import { Viewer } from "./viewer.js";

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id); // of any kind: inputs, dialogs, canvases

const viewer = new Viewer($("canvas"));
const zoom = followGestures(viewer);
const model = describeModel();
// several classes come as a mask of class indices; one class as probabilities, which the slider cuts
const parameters = model.then(({ architecture }) => ({ output: architecture.classes > 1 ? "mask" : "probability" }));
const queue = new Queue(parameters, onChange);
const filmstrip = new Filmstrip($("images"), { onSelect: select, onRemove: remove });
let scene = null; // once the model is known
let selected = null;
let threshold = null; // null: the stored one

collectFiles({ picker: $("files"), target: document, onFiles: (files) => files.forEach((file) => queue.add(file)) });
for (const id of ["choose", "add"]) $(id).addEventListener("click", () => $("files").click());
$("example").addEventListener("click", async () => {
  const response = await fetch("static/example.png");
  queue.add(new File([await response.blob()], "example.png", { type: "image/png" }));
});
for (const [id, act] of Object.entries({ "zoom-in": zoom.zoomIn, "zoom-out": zoom.zoomOut, fit: zoom.fit })) {
  $(id).addEventListener("click", act);
}
$("modes").addEventListener("change", ({ target }) => (viewer.mode = target.value));
$("opacity").addEventListener("input", showOpacity);
$("outlines").addEventListener("change", showOpacity);
$("page").addEventListener("input", () => show($("page").valueAsNumber - 1));
showOpacity();
model.then(introduce, (problem) => ($("model").textContent = `${problem.message} Load the page again to try again.`));

/** What depends on the net. */
function introduce(described) {
  const { name, engine, device, precision, sha256, labels, architecture } = described;
  const isOneClass = architecture.classes === 1;
  $("model").textContent = `${name} (${sha256.slice(0, 12)}), ${engine} on ${device}, ${precision}`;
  const rule = { objects: described.objects, min_area: described.min_area };
  scene = new Scene(viewer, { threshold: isOneClass ? described.threshold : null, rule, onPage, onAreas });
  $("threshold-field").hidden = !isOneClass;
  $("legend").hidden = isOneClass;
  if (isOneClass) followThreshold(described.threshold, labels[255]);
  else showLegend(labels);
  const current = () => ({ entry: selected, threshold: isOneClass ? threshold : null });
  makeDownloads($("downloads"), { labels, classes: architecture.classes, current, onProblem: onDownloadProblem });
}

function followThreshold(stored, foreground) {
  const set = (value) => {
    threshold = value === stored ? null : value;
    $("threshold").value = $("threshold-number").value = value;
    $("reset").hidden = threshold === null;
    scene.threshold = value;
  };
  $("foreground").textContent = foreground ?? "foreground";
  $("default").textContent = stored;
  $("threshold").addEventListener("input", () => set($("threshold").valueAsNumber));
  $("threshold-number").addEventListener("change", () => set(readNumber($("threshold-number"), threshold ?? stored)));
  $("reset").addEventListener("click", () => set(stored));
  set(stored);
}

/** The number in a field, or the one before if it is none that the field accepts. */
function readNumber(field, before) {
  const { valueAsNumber: value, min, max } = field;
  return value >= Number(min) && value <= Number(max) ? value : before;
}

function showLegend(labels) {
  const classes = Object.entries(labels).filter(([value]) => Number(value) > 0);
  $("legend").replaceChildren(
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

function showOpacity() {
  viewer.opacity = $("opacity").valueAsNumber / 100;
  viewer.outlines = $("outlines").checked;
  $("opacity-number").textContent = `${$("opacity").value}%`;
  viewer.draw();
}

/** An entry of the queue has changed. */
function onChange(entry) {
  filmstrip.update(entry);
  if (!selected) select(entry);
  else if (entry === selected) showSelected();
  if (entry.state === "done") say(`${entry.file.name} is done.`);
  if (entry.state === "failed") say(`${entry.file.name}: ${entry.problem.message}`);
  if (entry.state === "failed" && entry.problem.status === 401) askForKey();
}

function select(entry) {
  selected = entry;
  filmstrip.select(entry);
  showSelected();
  if (entry.state !== "done") preview(entry);
}

/** The image without its mask, until that has come. */
async function preview(entry) {
  scene?.clear();
  viewer.clear();
  const image = await loadPicture(`${entry.id}-image`, entry.file, 0).catch(() => null);
  if (image && entry === selected && entry.state !== "done") viewer.show({ image }, image);
}

function remove(entry) {
  queue.remove(entry);
  if (entry !== selected) return;
  selected = null;
  if (queue.entries.length) select(queue.entries[0]);
  else showNothing();
  $(selected ? "add" : "choose").focus(); // what had it is gone
}

function showNothing() {
  scene?.clear();
  viewer.clear();
  showSections();
}

function showSections() {
  const isEmpty = selected === null;
  $("main").classList.toggle("empty", isEmpty);
  $("welcome").hidden = !isEmpty;
  $("stage").hidden = $("strip").hidden = isEmpty;
  $("panel").hidden = isEmpty || selected.state !== "done";
}

function showSelected() {
  showSections();
  const { state, problem, file } = selected;
  const isDone = state === "done";
  $("canvas").hidden = state === "failed";
  $("message").hidden = isDone;
  $("modes").disabled = !isDone;
  $("message").dataset.state = state;
  $("caption").textContent = file.name;
  $("note").hidden = $("pages").hidden = true;
  onDownloadProblem(null);
  if (isDone) show(0);
  else if (problem) $("message").replaceChildren(problem.message, ...(mayPass(problem) ? [retryButton(selected)] : []));
  else $("message").replaceChildren("The mask is on its way…");
}

async function show(index) {
  try {
    await scene.show(selected, index);
  } catch {
    $("note").hidden = false;
    $("note").textContent = "The answer came, but this browser could not read it. The downloads work.";
  }
}

/** Whether the same file may get another answer later. */
function mayPass({ status }) {
  return status === 0 || status === 401 || status >= 500;
}

function retryButton(entry) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Try again";
  button.addEventListener("click", () => queue.retry(entry));
  return button;
}

function onPage({ pages, index, size, isShrunk, hasPicture }) {
  const of = pages > 1 ? `, ${pages} pages` : "";
  $("caption").textContent = `${selected.file.name} · ${number(size.width)} × ${number(size.height)}${of}`;
  $("pages").hidden = pages === 1;
  $("page").max = pages;
  $("page").value = index + 1;
  $("page-number").textContent = `${index + 1} of ${pages}`;
  const notes = [];
  if (isShrunk) notes.push("Shown with fewer pixels than it has; objects and downloads are those of all pixels.");
  if (!hasPicture) notes.push("This browser cannot show the image itself; its mask is right all the same.");
  $("note").hidden = !notes.length;
  $("note").textContent = notes.join(" ");
}

function onAreas(areas, pixels) {
  const { count, median, share, text } = summarise(areas, pixels);
  $("count").textContent = number(count);
  $("median").textContent = median === null ? "–" : `${number(median)} px`;
  $("share").textContent = percent(share);
  $("summary").textContent = text;
  $("canvas").setAttribute("aria-label", `${selected.file.name} with its mask. ${text}`);
  drawHistogram($("histogram"), areas, text);
  say(text);
}

function onDownloadProblem(problem) {
  $("download-problem").hidden = !problem;
  $("download-problem").textContent = problem?.message ?? "";
  if (problem?.status === 401) askForKey();
}

function say(text) {
  $("status").textContent = text;
}

function askForKey() {
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key-cancel").addEventListener("click", () => $("key-dialog").close());
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value);
  $("key").value = "";
  $("key-dialog").close();
  queue.entries.filter(({ problem }) => problem?.status === 401).forEach((entry) => queue.retry(entry));
});

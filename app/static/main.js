// @ts-check
// Puts the page together: what is chosen, and what follows from a change of it.

import { labelOf, listNets } from "./api.js";
import { ChannelChoice } from "./channels.js";
import { ContrastControl } from "./contrast.js";
import { hasUnsaved } from "./correcting/corrected_page.js";
import { CorrectionMode } from "./correcting/correction_mode.js";
import { TrainingData } from "./correcting/training_data.js";
import { byId } from "./dom.js";
import { DownloadAll } from "./download_all.js";
import { makeDownloads } from "./downloads.js";
import { Filmstrip } from "./filmstrip.js";
import { followGestures } from "./gestures.js";
import { collectFiles, describeSkipped } from "./intake.js";
import { KeyDialog } from "./key_dialog.js";
import { followKeys, HelpDialog } from "./keys.js";
import { NetCards } from "./net_cards.js";
import { keepInAddress, NetChoice, netInAddress } from "./net_choice.js";
import { hideNetNotice, showNetNotice } from "./net_notice.js";
import { NetWatch } from "./net_watch.js";
import { findAdded, findNet } from "./nets.js";
import { ObjectView } from "./object_view.js";
import { describeLimits } from "./limits.js";
import { MinAreaControl } from "./min_area_control.js";
import { loadPicture } from "./picture.js";
import { isOnItsWay } from "./progress.js";
import { Queue } from "./queue.js";
import { Scene } from "./scene.js";
import { Stage } from "./stage.js";
import { ThresholdControl } from "./threshold_control.js";
import { connectViewControls, showLegend } from "./view_controls.js";
import { Viewer } from "./viewer.js";

const LONGEST_NAME = 64; // of a net, signs

const viewer = new Viewer(byId("canvas"));
const known = listNets();
const limits = known.then(({ models }) => models[0].limits);
const queue = new Queue(() => known.then(() => parametersOf(model)), limits, onChange);
const filmstrip = new Filmstrip(byId("images"), { onSelect: select, onRemove: remove });
const stage = new Stage({
  onPage: showPage,
  onRetry: retry,
  onCancel: (entry) => queue.cancel(entry),
  onNet: chooseNet,
});
const netChoice = new NetChoice(chooseNet);
const netCards = new NetCards(chooseNet);
const contrast = new ContrastControl(() => scene?.renewPicture());
const channelChoice = new ChannelChoice((channel) => {
  const isWanted = mayLose([selected], "Another channel has another mask.");
  if (isWanted) selected.channel = channel;
  if (isWanted) queue.retry(selected);
  else channelChoice.show(selected.result.channels, selected.channel);
});
const keyDialog = new KeyDialog(retryRefused);
let served = null; // the nets of the service, see nets.js
let chosen = netInAddress(); // name of the net that the person has chosen; null to follow the default net
let model = null; // the net of the page, as the service describes it
let watch = null;
let scene = null; // both are null until the model is known
let control = null; // of the threshold; null for a net of several classes
let introduction = new AbortController(); // ends what was made for the net before
let selected = null; // the entry of the queue that is shown
let settings = null; // gives what downloads depend on, see output_files.js

const objectView = new ObjectView(viewer);
const correcting = new CorrectionMode(viewer, objectView, () => filmstrip.update(selected));
const trainingData = new TrainingData({
  makePair: () => scene.pair(),
  about: ({ result }) => ({
    threshold: control?.value ?? null,
    weights: result.model || labelOf(model),
    classes: model.architecture.classes,
  }),
  netOf: ({ parameters }) => (served.models.some(({ name }) => name === parameters.model) ? parameters.model : model.name),
  onSaved: followSaved,
  onRefused: ({ hadKey }) => keyDialog.open(hadKey),
});
const zoom = followGestures(viewer, correcting.strokes);
const helpDialog = new HelpDialog();
const views = connectViewControls(viewer, zoom);
followKeys({
  ArrowLeft: () => step(-1),
  "[": () => step(-1),
  ArrowRight: () => step(1),
  "]": () => step(1),
  "+": zoom.zoomIn,
  "=": zoom.zoomIn,
  "-": zoom.zoomOut,
  0: zoom.fit,
  o: views.next,
  c: () => byId("correct").disabled || correcting.toggle(),
  "?": () => helpDialog.open(),
});
collectFiles({
  picker: byId("files"),
  target: document,
  onFiles: (files) => files.forEach((file) => queue.add(file)),
  onSkipped: showSkipped,
});
byId("skipped-close").addEventListener("click", () => showSkipped([]));
for (const id of ["choose", "add"]) byId(id).addEventListener("click", () => byId("files").click());
byId("example").addEventListener("click", async () => {
  const response = await fetch("static/example.png");
  queue.add(new File([await response.blob()], "example.png", { type: "image/png" }));
});
limits.then((found) => (byId("limits").textContent = describeLimits(found)), () => null); // the footer shows the error
window.addEventListener("beforeunload", (event) => {
  if (queue.entries.some(({ corrections }) => hasUnsaved(corrections))) event.preventDefault(); // the browser asks
});
known.then(begin, ({ message }) => (byId("model").textContent = `${message} Load the page again to try again.`));

function begin(found) {
  served = found;
  introduce(findNet(served, chosen));
  const missing = takeMissing();
  if (missing) showNetNotice(`${missing} This page uses ${model.name}.`);
  watch = new NetWatch(served, followNets);
  new DownloadAll(() => queue.entries, () => settings());
}

/** Several classes come as a mask of class indices; one class as probabilities, which the slider cuts. */
function parametersOf({ name, architecture }) {
  return { model: name, output: architecture.classes > 1 ? "mask" : "probability" };
}

/** Shows everything that depends on the net, instead of what depended on the net before. */
function introduce(described) {
  model = described;
  const { name, engine, device, precision, sha256, labels, architecture, objects, min_area, threshold } = model;
  introduction.abort();
  introduction = new AbortController();
  scene?.clear();
  const isOneClass = architecture.classes === 1;
  byId("model").textContent = `${name} (${sha256.slice(0, 12)}), ${engine} on ${device}, ${precision}`;
  showNets();
  const rule = { objects, min_area };
  const calls = { onPage: (page) => stage.showPage(selected.file, page), onObjects: showObjects };
  const options = { threshold: isOneClass ? threshold : null, rule, kind: kindOf(model), contrast: () => contrast.value };
  scene = new Scene(viewer, { ...options, ...calls });
  objectView.labels = isOneClass ? null : labels;
  correcting.scene = scene;
  correcting.classes = isOneClass ? null : labels;
  trainingData.savesLabels = model.saves_labels;
  byId("threshold-field").hidden = !isOneClass;
  byId("legend").hidden = isOneClass;
  control = isOneClass
    ? new ThresholdControl(threshold, labels[255] ?? "foreground", (value) => (scene.threshold = value), introduction.signal)
    : null;
  if (!isOneClass) showLegend(labels);
  const minArea = new MinAreaControl(min_area, () => (scene.minArea = minArea.chosen), introduction.signal);
  settings = () => ({ model, threshold: control?.chosen ?? null, min_area: minArea.chosen });
  makeDownloads(byId("downloads"), { model, current: () => ({ entry: selected, ...settings() }), onDone: showDownload });
}

/** The kind of labels that the net learns from, see `Corrected` in objects.js. */
function kindOf({ architecture, objects, provenance }) {
  if (architecture.classes > 1) return "classes";
  return objects === "seeds" || provenance.label_format === "instances" ? "instances" : "mask";
}

/** Shows the nets of the service, and which of them the page uses. */
function showNets() {
  const names = served.models.map(({ name }) => name);
  netChoice.show(names, model.name);
  netCards.show(served.models, model.name);
  stage.otherNets = names.filter((name) => name !== model.name);
}

/** The sentence on a chosen net that is not served, which is forgotten; "" if there is none. */
function takeMissing() {
  if (chosen === null || chosen === model.name) return "";
  const missing = `The net ${chosen.slice(0, LONGEST_NAME)} is not served.`;
  chosen = null;
  keepInAddress(null);
  return missing;
}

/** Follows a change of the nets of the service: the page's net may be another one now. */
function followNets(found, before) {
  served = found;
  const net = findNet(served, chosen);
  if (labelOf(net) !== labelOf(model)) return changeNet(net);
  showNets();
  const [added] = findAdded(served, before);
  if (added) showNetNotice(`The service has a new net: ${added.name}.`, [[`Use ${added.name}`, () => chooseNet(added.name)]]);
}

/** The service serves another net: the page's settings follow, and masks of other nets are marked. */
function changeNet(net) {
  introduce(net);
  const hasResults = queue.entries.some(({ result }) => result);
  const missing = takeMissing();
  const text = missing ? `${missing} This page uses` : "The service has another net now:";
  showNetNotice(`${text} ${labelOf(model)}.`, hasResults ? [["Compute all again", computeAgain]] : []);
  showResults();
}

/** The person chooses a net: the shown image is computed at once, masks of other images are marked. */
function chooseNet(name) {
  if (name !== model.name && mayLose(queue.entries, "Another net makes other masks.")) switchTo(name);
  else showNets();
}

function switchTo(name) {
  const unfinished = queue.entries.filter((entry) => isOnItsWay(entry));
  keepInAddress((chosen = name));
  queue.entries.forEach(({ corrections }) => corrections.clear());
  introduce(findNet(served, name));
  if (model.input_channels > 1) queue.entries.forEach((entry) => (entry.channel = null)); // it takes all, or the colours
  showResults();
  unfinished.forEach((entry) => queue.restart(entry));
  if (["outdated", "failed"].includes(selected?.state)) queue.retry(selected);
  const count = findOutdated().length;
  hideNetNotice();
  const images = count === 1 ? "The mask of one more image is" : `The masks of ${count} more images are`;
  if (count) showNetNotice(`${images} of another net.`, [["Compute all again", computeAgain]]);
}

function findOutdated() {
  return queue.entries.filter(({ state }) => state === "outdated");
}

function computeAgain() {
  const outdated = findOutdated();
  if (mayLose(outdated, "Masks are computed again.")) outdated.forEach((entry) => queue.retry(entry));
}

/** Shows the selected result, and marks those of other nets. */
function showResults() {
  const done = queue.entries.filter(({ state }) => state === "done");
  done.filter((entry) => !isOfNet(entry) && !isHeld(entry)).forEach((entry) => queue.outdate(entry));
  if (selected?.state === "done") showSelected();
}

/** Whether a result of another net stays, because its corrections are not saved. */
function isHeld({ corrections, parameters }) {
  return hasUnsaved(corrections) && parameters.output === parametersOf(model).output;
}

/** Sends an image again. */
function retry(entry) {
  if (mayLose([entry], "The mask is computed again.")) queue.retry(entry);
}

/** Asks the person if corrections that are not saved would be lost. */
function mayLose(entries, reason) {
  const count = entries.filter(({ corrections }) => hasUnsaved(corrections)).length;
  const images = count === 1 ? "an image" : `${count} images`;
  return !count || window.confirm(`${reason} Corrections of ${images} are not saved, and will be lost. Continue?`);
}

/** Follows the saving of a page: the list says so, and a mask of another net is marked. */
function followSaved(entry) {
  filmstrip.update(entry);
  if (entry.state === "done" && !isOfNet(entry) && !isHeld(entry)) queue.outdate(entry);
}

/** Whether a result is of the net that the page knows, and of the kind that the page shows of such nets. */
function isOfNet({ result, parameters }) {
  return (!result.model || result.model === labelOf(model)) && parameters.output === parametersOf(model).output;
}

/** Follows a result of another net: either the service has changed its net, or the result is of the net before. */
async function askForNet() {
  await watch.look();
  showResults();
}

/** Sends an image again that was refused because its net is not served any more. */
async function retryWithNet(entry) {
  await watch.look();
  if (entry.state === "failed" && entry.parameters.model !== model.name) queue.retry(entry);
}

/** Follows a change of an entry of the queue. */
function onChange(entry) {
  filmstrip.update(entry);
  if (entry.state === "done" && !isOfNet(entry)) {
    askForNet();
    return;
  }
  if (!selected) select(entry);
  else if (entry === selected) showSelected();
  if (entry === selected && entry.state === "outdated") preview(entry);
  if (entry.state === "done") say(`${entry.file.name} is done.`);
  if (entry.state === "cancelled") say(`${entry.file.name} is cancelled.`);
  if (entry.state === "failed") say(`${entry.file.name}: ${entry.problem.message}`);
  if (entry.state === "failed" && entry.problem.status === 422) retryWithNet(entry);
  if (entry.state === "failed" && entry.problem.status === 401) keyDialog.open(entry.problem.hadKey);
}

/** Selects the next image, or the one before. */
function step(by) {
  const entry = queue.entries[queue.entries.indexOf(selected) + by];
  if (selected && entry) select(entry);
}

function showSkipped(files) {
  byId("skipped").hidden = !files.length;
  byId("skipped-files").textContent = files.length ? describeSkipped(files) : "";
}

function select(entry) {
  selected = entry;
  filmstrip.select(entry);
  showSelected();
  if (entry.state !== "done") preview(entry);
}

/** Shows the image without its mask, until the mask has come. */
async function preview(entry) {
  clear();
  const picture = await loadPicture(`${entry.id}-image`, entry.file, 0, contrast.value).catch(() => null);
  const image = picture?.canvas;
  if (image && entry === selected && entry.state !== "done") viewer.show({ image }, image);
}

function remove(entry) {
  if (!mayLose([entry], "The image is removed.")) return;
  filmstrip.remove(entry);
  queue.remove(entry);
  if (entry !== selected) return;
  selected = null;
  if (queue.entries.length) {
    select(queue.entries[0]);
  } else {
    clear();
    showSections();
  }
  byId(selected ? "add" : "choose").focus(); // the element that had it is gone
}

function clear() {
  scene?.clear();
  objectView.clear();
  viewer.clear();
}

function showSections() {
  const isEmpty = selected === null;
  byId("main").classList.toggle("empty", isEmpty);
  byId("welcome").hidden = !isEmpty;
  byId("stage").hidden = byId("strip").hidden = isEmpty;
  byId("panel").hidden = isEmpty || selected.state !== "done";
}

function showSelected() {
  showSections();
  stage.showEntry(selected);
  showDownload(null, "");
  if (selected.state !== "done") return;
  channelChoice.show(selected.result.channels, selected.channel);
  showPage(0);
}

async function showPage(index) {
  objectView.clear();
  try {
    await scene.show(selected, index);
  } catch {
    stage.showNotes(["The answer came, but this browser could not read it."]);
  }
  correcting.show();
}

function showObjects(found, size) {
  const text = objectView.show(found, size, selected.result.pixelSize);
  byId("canvas").setAttribute("aria-label", `${selected.file.name} with its mask. ${text}`);
  say(text);
  correcting.prepare();
}

function showDownload(problem, note) {
  byId("download-note").hidden = !note;
  byId("download-note").textContent = note;
  byId("download-problem").hidden = !problem;
  byId("download-problem").textContent = problem?.message ?? "";
  if (problem?.status === 401) keyDialog.open(problem.hadKey);
}

/** Sends everything again that was refused for want of a key. */
function retryRefused() {
  queue.entries.filter(({ problem }) => problem?.status === 401).forEach((entry) => queue.retry(entry));
}

/** Tells screen readers. */
function say(text) {
  byId("status").textContent = text;
}

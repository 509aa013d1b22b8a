// @ts-check
// The service's calls. Addresses are relative, so that the page works behind a path prefix.

const KEY = "segment-key"; // in sessionStorage: gone with the tab

/**
 * What went wrong, in words for the person; `status` is 0 if no answer came, `retryAfter` is in seconds, `hadKey`: the
 * request had a key.
 */
export class Problem extends Error {
  hadKey = false;

  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** What `GET /models` says; waits while the service starts. Throws Problem. */
export async function listNets() {
  for (;;) {
    const response = await fetch("models").catch(() => null);
    if (response?.ok) return response.json();
    if (response?.status !== 503) throw await problemOf(response?.status ?? 0, response ? await response.text() : "");
    await pause(2);
  }
}

/** What `GET /models` says now; null if the service does not answer. */
export async function listNetsNow() {
  const response = await fetch("models").catch(() => null);
  return response?.ok ? response.json() : null;
}

/** The header `X-Model` of answers of this net. */
export function labelOf({ name, sha256 }) {
  return `${name}@${sha256.slice(0, 12)}`;
}

/** Waits; an abort of `signal` ends the wait early. */
export function pause(seconds, signal = null) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", resolve);
  });
}

/**
 * @typedef {object} Result
 * @property {Blob} blob
 * @property {string} name the file name that the service proposes
 * @property {{ x: number, y: number } | null} pixelSize width and height of a pixel in micrometres; null if unknown
 * @property {number} spacing distance between sections in micrometres; 0 if unknown
 * @property {string[]} channels names of the channels that one is chosen of
 * @property {{ title: string, pages: (number | null)[] }[]} channelPages the channels of the file, and for each page of the
 *   result the page of the file that has the channel, null if no page has only this one; none if there is one channel
 * @property {{ z: number, t: number }[]} places section and time of each page, from 0; none if there is one page
 * @property {string} notice what the person should know of how the image was read
 * @property {(number | null)[] | null} filePages for each page of the result the page of the image file, null if it has
 *   none; null if both are counted alike
 * @property {string} model the label of the net that made it; "" if the answer has none
 */

/**
 * @typedef {object} Progress of a request after its upload
 * @property {string} stage a stage of `GET /progress`, or downloading
 * @property {number} [stage_s] seconds since the stage began
 * @property {number} [tiles_done] number of tiles that are computed
 * @property {number} [tiles] number of tiles, 0 until the image is decoded
 * @property {number} [share] of the download, 0..1
 */

/**
 * Sends an image with these parameters. Throws Problem.
 *
 * @param {File} file
 * @param {Record<string, string | number>} parameters
 * @param {object} [options]
 * @param {(share: number) => void} [options.onUpload] called with the share of the upload that is sent, 0..1
 * @param {((progress: Progress) => void) | null} [options.onProgress] called about once a second after the upload
 * @param {AbortSignal | null} [options.signal] cancels the request
 * @returns {Promise<Result>} the result
 */
export function segment(file, parameters, { onUpload = (_share) => {}, onProgress = null, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    const requestId = makeId();
    const answered = new AbortController();
    request.open("POST", `segment?${queryOf(parameters)}`);
    request.responseType = "blob";
    request.setRequestHeader("X-Request-ID", requestId);
    const key = sessionStorage.getItem(KEY);
    if (key) request.setRequestHeader("X-API-Key", headerValue(key));
    request.upload.addEventListener("progress", (event) => onUpload(event.loaded / event.total));
    request.upload.addEventListener("load", () => {
      onUpload(1);
      if (onProgress) followProgress(requestId, onProgress, answered.signal);
    });
    request.addEventListener("readystatechange", () => {
      if (request.readyState >= XMLHttpRequest.HEADERS_RECEIVED) answered.abort();
    });
    request.addEventListener("progress", ({ loaded, total }) => {
      if (total) onProgress?.({ stage: "downloading", share: loaded / total });
    });
    signal?.addEventListener("abort", () => request.abort());
    request.addEventListener("abort", () => reject(new Problem(0, "Given up.")));
    request.addEventListener("error", async () => reject(await problemOf(0, "")));
    request.addEventListener("load", async () => {
      if (request.status === 200) resolve(resultOf(request, file));
      else reject(Object.assign(await problemOf(request.status, await request.response.text(), request), { hadKey: Boolean(key) }));
    });
    const form = new FormData();
    form.append("file", file, file.name);
    if (signal?.aborted) reject(new Problem(0, "Given up."));
    else request.send(form);
  });
}

/**
 * Saves an image and its label as training data. Throws Problem.
 *
 * @param {File} image
 * @param {Blob} label a PNG file
 * @param {Record<string, string | number | null>} about see `POST /labels`; null is left out
 * @returns {Promise<{ id: string, replaced: boolean, pairs: number }>} what the service answers
 */
export async function saveLabel(image, label, about) {
  const form = new FormData();
  form.append("image", image, image.name);
  form.append("label", label, "label.png");
  for (const [name, value] of Object.entries(about)) if (value !== null) form.append(name, String(value));
  const headers = keyHeaders();
  const response = await fetch("labels", { method: "POST", body: form, headers }).catch(() => null);
  if (response?.ok) return response.json();
  const problem = await problemOf(response?.status ?? 0, response ? await response.text() : "");
  throw Object.assign(problem, { hadKey: "X-API-Key" in headers });
}

/** Asks for the progress of a request once a second, until `signal` aborts or this server does not know the request. */
async function followProgress(requestId, onProgress, signal) {
  for (;;) {
    await pause(1, signal);
    if (signal.aborted) return;
    const response = await fetch(`progress/${requestId}`, { headers: keyHeaders(), signal }).catch(() => null);
    const progress = response?.ok ? await response.json().catch(() => null) : null;
    if (!progress || signal.aborted) return; // without it, as where several processes serve, the bar moves on its own
    onProgress(progress);
  }
}

/** A random id; pages without TLS have no `crypto.randomUUID`. */
function makeId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @returns {Result} */
function resultOf(request, file) {
  const pages = request.getResponseHeader("X-Pages");
  return {
    blob: request.response,
    name: nameIn(request, file),
    notice: request.getResponseHeader("X-Notice") ?? "",
    filePages: pages && pagesIn(pages),
    model: request.getResponseHeader("X-Model") ?? "",
    channels: channelsIn(request.getResponseHeader("X-Channels") ?? ""),
    channelPages: channelPagesIn(request.getResponseHeader("X-Channel-Pages") ?? ""),
    places: placesIn(request.getResponseHeader("X-Places") ?? ""),
    pixelSize: pixelSizeIn(request.getResponseHeader("X-Pixel-Size") ?? ""),
    spacing: Number(request.getResponseHeader("X-Spacing")),
  };
}

/** The page numbers that a header lists: "0-6/2,9,-" is 0, 2, 4, 6, 9 and none. */
export function pagesIn(header) {
  return header.split(",").flatMap((part) => {
    const [, first, last = first, step = "1"] = part.match(/^(\d+)(?:-(\d+))?(?:\/(\d+))?$/) ?? [];
    if (first === undefined) return [null];
    const count = Math.floor((Number(last) - Number(first)) / Number(step)) + 1;
    return Array.from({ length: count }, (_, index) => Number(first) + index * Number(step));
  });
}

/** The width and height in a header, "0.5,0.25"; null if there are none. */
export function pixelSizeIn(header) {
  const [x, y] = header.split(",").map(Number);
  return x > 0 && y > 0 ? { x, y } : null;
}

/** The names of channels in a header: "DAPI,%C2%B5-GFP". */
export function channelsIn(header) {
  return header ? header.split(",").map(decodeURIComponent) : [];
}

/** Titles and pages of channels in a header: "DAPI=0-8/2;GFP=1-9/2". */
export function channelPagesIn(header) {
  if (!header) return [];
  return header.split(";").map((part) => {
    const [title, pages] = part.split("=");
    return { title: decodeURIComponent(title), pages: pagesIn(pages) };
  });
}

/** Sections and times in a header: "z5:0-14/1" lists z + 5 t, "t3:0-14/1" lists t + 3 z; none if the header is empty. */
export function placesIn(header) {
  const [, axis, length, numbers] = header.match(/^([zt])(\d+):(.+)$/) ?? [];
  if (!axis) return [];
  return pagesIn(numbers).map((number) => {
    const [inner, outer] = [number % Number(length), Math.floor(number / Number(length))];
    return axis === "z" ? { z: inner, t: outer } : { z: outer, t: inner };
  });
}

/** The parameters as a query string. */
export function queryOf(parameters) {
  return String(new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)])));
}

/** The header of the key, if there is one. */
function keyHeaders() {
  const key = sessionStorage.getItem(KEY);
  return key ? { "X-API-Key": headerValue(key) } : {};
}

/** A header holds Latin letters only; a key with others is none that the service knows. */
function headerValue(key) {
  return /^[\x20-\xff]*$/.test(key) ? key : "?";
}

function nameIn(request, file) {
  const disposition = request.getResponseHeader("Content-Disposition") ?? "";
  const encoded = disposition.match(/filename\*=UTF-8''([^;]+)/)?.[1];
  return encoded ? decodeURIComponent(encoded) : (disposition.match(/filename="([^"]+)"/)?.[1] ?? file.name);
}

async function problemOf(status, body, request = null) {
  const retryAfter = Number(request?.getResponseHeader("Retry-After")) || 0;
  return new Problem(status, detailIn(body) ?? plainWords(status), retryAfter);
}

function detailIn(body) {
  try {
    return JSON.parse(body).detail;
  } catch {
    return null; // not the service's own words: a proxy's page, say
  }
}

function plainWords(status) {
  if (status === 0) return "The server cannot be reached, or it cut the connection.";
  if (status === 413) return "The file is larger than the server accepts.";
  return `The server answered with an error (${status}).`;
}

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

/** What `GET /model` says; waits while the service starts. Throws Problem. */
export async function describeModel() {
  for (;;) {
    const response = await fetch("model").catch(() => null);
    if (response?.ok) return response.json();
    if (response?.status !== 503) throw await problemOf(response?.status ?? 0, response ? await response.text() : "");
    await pause(2);
  }
}

/** What `GET /model` says now; null if the service does not answer. */
export async function describeModelNow() {
  const response = await fetch("model").catch(() => null);
  return response?.ok ? response.json() : null;
}

/** The header `X-Model` of answers of this net. */
export function labelOf({ name, sha256 }) {
  return `${name}@${sha256.slice(0, 12)}`;
}

export function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/**
 * @typedef {object} Result
 * @property {Blob} blob
 * @property {string} name the file name that the service proposes
 * @property {{ x: number, y: number } | null} pixelSize width and height of a pixel in micrometres; null if unknown
 * @property {string[]} channels names of the channels that one is chosen of
 * @property {string} notice what the person should know of how the image was read
 * @property {(number | null)[] | null} filePages for each page of the result the page of the image file, null if it has
 *   none; null if both are counted alike
 * @property {string} model the label of the net that made it; "" if the answer has none
 */

/**
 * Sends an image with these parameters. Throws Problem.
 *
 * @param {File} file
 * @param {Record<string, string | number>} parameters
 * @param {{ onUpload?: (share: number) => void, signal?: AbortSignal | null }} [options] `onUpload` gets the share of the
 *   upload that is sent, 0..1; `signal` cancels the request.
 * @returns {Promise<Result>} the result
 */
export function segment(file, parameters, { onUpload = (_share) => {}, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    request.open("POST", `segment?${queryOf(parameters)}`);
    request.responseType = "blob";
    const key = sessionStorage.getItem(KEY);
    if (key) request.setRequestHeader("X-API-Key", headerValue(key));
    request.upload.addEventListener("progress", (event) => onUpload(event.loaded / event.total));
    request.upload.addEventListener("load", () => onUpload(1));
    signal?.addEventListener("abort", () => request.abort());
    request.addEventListener("abort", () => reject(new Problem(0, "Given up.")));
    request.addEventListener("error", async () => reject(await problemOf(0, "")));
    request.addEventListener("load", async () => {
      if (request.status === 200) resolve(resultOf(request, file));
      else reject(Object.assign(await problemOf(request.status, await request.response.text(), request), { hadKey: Boolean(key) }));
    });
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
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
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { "X-API-Key": headerValue(key) } : undefined;
  const response = await fetch("labels", { method: "POST", body: form, headers }).catch(() => null);
  if (response?.ok) return response.json();
  const problem = await problemOf(response?.status ?? 0, response ? await response.text() : "");
  throw Object.assign(problem, { hadKey: Boolean(key) });
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
    pixelSize: pixelSizeIn(request.getResponseHeader("X-Pixel-Size") ?? ""),
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

/** The parameters as a query string. */
export function queryOf(parameters) {
  return String(new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)])));
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

// @ts-check
// The images and their requests: one request an image, a few at a time.

import { pause, Problem, segment } from "./api.js";
import { findFault } from "./check.js";
import { findExcess } from "./limits.js";

const AT_ONCE = 2; // one is sent while another is computed
const LONGEST_WAIT = 30; // seconds, between tries while the service is overloaded
const TRIES = 20;

let made = 0;

/** An image on its way; `state` is waiting, uploading, computing, busy, done, outdated, cancelled or failed. */
class Entry {
  id = ++made;
  state = "waiting";
  sent = 0; // share of the file
  progress = null; // of the request after the upload, see `segment` in api.js; null if unknown
  problem = null;
  channel = null; // value of the parameter; null for the one that the service chooses
  parameters = null; // of the request
  result = null; // see `Result` in api.js
  corrections = new Map(); // CorrectedPage by the index of the page
  results = 0; // number of results so far: the decoder keeps what it has decoded of each
  serviceIds = new Map(); // answers with ids, see service_ids.js
  leaving = new AbortController(); // cancels the request

  constructor(file) {
    this.file = file;
  }
}

export class Queue {
  #running = 0;

  /**
   * `parameters()` gives those of a request, as a promise; `limits`: of the service, see limits.js, may be a promise.
   * `onChange` is called with the entry that changed.
   */
  constructor(parameters, limits, onChange) {
    this.entries = [];
    this.parameters = parameters;
    this.limits = limits;
    this.onChange = onChange;
  }

  add(file) {
    const entry = new Entry(file);
    this.entries.push(entry);
    this.onChange(entry);
    this.#next();
    return entry;
  }

  /** Sends an image again; its corrections are lost. */
  retry(entry) {
    entry.corrections.clear();
    this.#set(entry, { state: "waiting", problem: null });
    this.#next();
  }

  /** Gives up the request of an entry, if there is one, and sends the image again. */
  restart(entry) {
    entry.leaving.abort();
    this.retry(entry);
  }

  /** Marks a result as one of another net. */
  outdate(entry) {
    this.#set(entry, { state: "outdated" });
  }

  /** Cancels the request of an entry, which stays in the list. */
  cancel(entry) {
    entry.leaving.abort();
    this.#set(entry, { state: "cancelled" });
  }

  /** Forgets an entry, and gives up its request. */
  remove(entry) {
    this.entries.splice(this.entries.indexOf(entry), 1);
    entry.leaving.abort();
  }

  async #next() {
    const entry = this.entries.find(({ state }) => state === "waiting");
    if (!entry || this.#running >= AT_ONCE) return;
    this.#running++;
    const { signal } = (entry.leaving = new AbortController());
    this.#set(entry, { state: "uploading", sent: 0, progress: null });
    try {
      const result = await this.#send(entry, signal);
      this.#set(entry, { state: "done", result, results: entry.results + 1 });
    } catch (problem) {
      if (!signal.aborted) this.#set(entry, { state: "failed", problem });
    }
    this.#running--;
    this.#next();
  }

  async #send(entry, signal) {
    const fault = (await findFault(entry.file)) ?? (await findExcess(entry.file, await this.limits));
    if (fault) throw new Problem(400, fault);
    const channel = entry.channel === null ? {} : { channel: entry.channel };
    const parameters = (entry.parameters = { ...(await this.parameters()), ...channel });
    const onUpload = (sent) => this.#set(entry, { state: sent < 1 ? "uploading" : "computing", sent });
    const onProgress = (progress) => this.#set(entry, { progress });
    for (let tries = 1; ; tries++) {
      try {
        return await segment(entry.file, parameters, { onUpload, onProgress, signal });
      } catch (problem) {
        if (problem.status !== 503 || tries === TRIES || signal.aborted) throw problem;
        this.#set(entry, { state: "busy", progress: null });
        await pause(Math.min(Math.max(1, problem.retryAfter), LONGEST_WAIT), signal);
      }
    }
  }

  #set(entry, changes) {
    Object.assign(entry, changes);
    if (this.entries.includes(entry)) this.onChange(entry);
  }
}

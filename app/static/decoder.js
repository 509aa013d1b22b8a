// @ts-check
// The worker's calls, as promises.

/** A worker, with what it has decoded. */
class Decoder {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #calls = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data: { call, answer, error } }) => {
      const { resolve, reject } = this.#waiting.get(call);
      this.#waiting.delete(call);
      if (error) reject(new Error(error));
      else resolve(answer);
    });
  }

  /** Calls `name` of worker.js. Throws if it could not do it. */
  ask(name, parameters) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#calls, { resolve, reject });
      this.#worker.postMessage({ call: this.#calls, name, parameters });
    });
  }

  /** Stops the worker, and with it the calls that it has not answered. */
  end() {
    this.#worker.terminate();
    this.#waiting.forEach(({ reject }) => reject(new Error("Cancelled.")));
  }
}

const forViews = new Decoder();
let forOutputs = null;

/** Calls `name` of the worker that all views of the page have in common. */
export function ask(name, parameters) {
  return forViews.ask(name, parameters);
}

/** Calls `name` of the worker that makes files, so that the views do not wait for files. */
export function askForOutputs(name, parameters) {
  forOutputs ??= new Decoder();
  return forOutputs.ask(name, parameters);
}

/** Stops the worker that makes files. */
export function stopOutputs() {
  forOutputs?.end();
  forOutputs = null;
}

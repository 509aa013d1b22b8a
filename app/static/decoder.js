// @ts-check
// The worker's calls, as promises.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let calls = 0;

worker.addEventListener("message", ({ data: { call, answer, error } }) => {
  const { resolve, reject } = waiting.get(call);
  waiting.delete(call);
  if (error) reject(new Error(error));
  else resolve(answer);
});

/** Calls `name` of worker.js. Throws if it could not do it. */
export function ask(name, parameters) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject });
    worker.postMessage({ call: calls, name, parameters });
  });
}

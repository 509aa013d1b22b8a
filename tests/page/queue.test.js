import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Queue } from "../../app/static/queue.js";

const LIMITS = { max_body_bytes: 1e6, max_pixels: 1e6 };

/** A request that is answered by hand. */
class HeldRequest extends EventTarget {
  static HEADERS_RECEIVED = 2;
  static sent = [];
  upload = new EventTarget();
  status = 0;
  readyState = 1;

  open() {}
  setRequestHeader() {}
  getResponseHeader = () => null;

  send() {
    HeldRequest.sent.push(this);
  }

  abort() {
    this.dispatchEvent(new Event("abort"));
  }

  answer(status) {
    Object.assign(this, { status, readyState: 4, response: new Blob(["{}"]) });
    this.dispatchEvent(new Event("load"));
  }
}

function makeQueue() {
  return new Queue(async () => ({ output: "mask" }), LIMITS, () => {});
}

function addImages(queue, count) {
  return Array.from({ length: count }, (_, index) => queue.add(new File(["BM"], `${index}.bmp`)));
}

/** Lets promises and the reading of files proceed. */
async function settle() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function statesOf(entries) {
  return entries.map(({ state }) => state);
}

beforeEach(() => {
  HeldRequest.sent = [];
  Object.assign(globalThis, { XMLHttpRequest: HeldRequest, sessionStorage: { getItem: () => null } });
});

test("a cancelled request makes the next image be sent", async () => {
  const queue = makeQueue();
  const entries = addImages(queue, 3);
  await settle();
  queue.cancel(entries[0]);
  await settle();
  assert.deepEqual(statesOf(entries), ["cancelled", "uploading", "uploading"]);
  assert.equal(HeldRequest.sent.length, 3);
});

test("an image that waits is cancelled without a request", async () => {
  const queue = makeQueue();
  const entries = addImages(queue, 3);
  await settle();
  queue.cancel(entries[2]);
  HeldRequest.sent.forEach((request) => request.answer(200));
  await settle();
  assert.deepEqual(statesOf(entries), ["done", "done", "cancelled"]);
});

test("an image is not sent again when it is cancelled while the server is busy", async () => {
  const queue = makeQueue();
  const [entry] = addImages(queue, 1);
  await settle();
  HeldRequest.sent[0].answer(503);
  await settle();
  assert.equal(entry.state, "busy");
  queue.cancel(entry);
  await settle();
  assert.equal(entry.state, "cancelled");
  assert.equal(HeldRequest.sent.length, 1);
});

test("an image on its way that is restarted is sent again", async () => {
  const queue = makeQueue();
  const [entry] = addImages(queue, 1);
  await settle();
  queue.restart(entry);
  await settle();
  HeldRequest.sent[1].answer(200);
  await settle();
  assert.deepEqual([entry.state, HeldRequest.sent.length], ["done", 2]);
});

test("a cancelled image can be computed again", async () => {
  const queue = makeQueue();
  const [entry] = addImages(queue, 1);
  await settle();
  queue.cancel(entry);
  queue.retry(entry);
  await settle();
  HeldRequest.sent[1].answer(200);
  await settle();
  assert.equal(entry.state, "done");
});

// @ts-check
// The progress of an image, in words and as a share.

import { hasUnsaved } from "./correcting/corrected_page.js";

const STATES = {
  waiting: "Waiting",
  uploading: "Uploading",
  busy: "The server is busy; trying again soon",
  done: "Done",
  outdated: "The net has changed",
  cancelled: "Cancelled",
};

// While the service has the image: the stages of GET /progress, and the download of the answer.
const STAGES = {
  uploading: "Uploading",
  decoding: "Reading the image",
  loading: "Loading the net",
  queued: "Waiting for other images",
  computing: "Computing",
  encoding: "Writing the mask",
  downloading: "Downloading",
};

/**
 * The state of an entry of the queue, with its share if that is known, and the seconds since its stage began if the service
 * reports them: "Computing 37%, 12 s". The seconds show that the service works where a share is unknown or rises slowly.
 */
export function describeState(entry) {
  const { state, progress, problem, corrections } = entry;
  if (state === "failed") return problem.message;
  if (state === "done" && corrections.size) return hasUnsaved(corrections) ? "Corrected, not saved" : "Corrected, saved";
  const words = state === "computing" ? STAGES[progress?.stage ?? "computing"] : STATES[state];
  const share = shareOf(entry);
  const percent = share === null ? "" : ` ${Math.round(100 * share)}%`;
  const seconds = state === "computing" && progress?.stage_s >= 1 ? `, ${Math.floor(progress.stage_s)} s` : "";
  return words + percent + seconds;
}

/** The share of the present step that is done, 0..1; null if it is unknown. */
export function shareOf({ state, sent, progress }) {
  if (state === "uploading") return sent;
  if (state !== "computing" || !progress) return null;
  if (progress.stage === "downloading") return progress.share;
  return progress.stage === "computing" ? progress.tiles_done / progress.tiles : null;
}

/** Whether a request of an entry is being made, or will be. */
export function isOnItsWay({ state }) {
  return ["waiting", "uploading", "computing", "busy"].includes(state);
}

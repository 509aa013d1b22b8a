// @ts-check
// Inflate for UTIF.js, which looks for it in the global variable `pako` when it is loaded.

import { inflateSync } from "./vendor/fflate/browser.js";

/** @type {any} */ (self).pako = { inflateRaw: (bytes) => inflateSync(bytes) };

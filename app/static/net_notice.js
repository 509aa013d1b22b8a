// @ts-check
// The notice above the images about the nets of the service.

import { byId, makeButton } from "./dom.js";

/**
 * Shows a notice instead of the one before. Each button closes it, and there is one that only does that.
 *
 * @param {string} text
 * @param {[string, () => void][]} [actions] texts of buttons, and what they do
 */
export function showNetNotice(text, actions = []) {
  const notice = byId("net-notice");
  const buttons = actions.map(([title, act]) => makeButton(title, () => (hideNetNotice(), act())));
  notice.replaceChildren(`${text} `, ...buttons, makeButton("Close", hideNetNotice));
  notice.hidden = false;
}

export function hideNetNotice() {
  byId("net-notice").hidden = true;
}

// @ts-check
// The choice of the net for all images, which the address of the page keeps.

import { byId } from "./dom.js";

const PARAMETER = "model"; // of the page's address, as of the service's calls

export class NetChoice {
  #select = byId("net");
  #names = "";

  /** @param {(name: string) => void} onChoose called with the name of the net that the person chooses */
  constructor(onChoose) {
    this.#select.addEventListener("change", () => onChoose(this.#select.value));
  }

  /**
   * Offers nets; hidden if there is no choice.
   *
   * @param {string[]} names
   * @param {string} chosen
   */
  show(names, chosen) {
    byId("net-field").hidden = names.length < 2;
    if (this.#names !== names.join(" ")) this.#select.replaceChildren(...names.map((name) => new Option(name)));
    this.#names = names.join(" ");
    this.#select.value = chosen;
  }
}

/** The name of the net in the address; null if there is none. */
export function netInAddress() {
  return new URL(location.href).searchParams.get(PARAMETER);
}

/**
 * Writes the net into the address, so that a link or a reload opens the page with it.
 *
 * @param {string | null} name null for the default net, whichever it is
 */
export function keepInAddress(name) {
  const address = new URL(location.href);
  if (name === null) address.searchParams.delete(PARAMETER);
  else address.searchParams.set(PARAMETER, name);
  history.replaceState(history.state, "", address);
}

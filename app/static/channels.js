// @ts-check
// Channels of an image of which the net gets one.

import { byId } from "./dom.js";

/**
 * The value of the parameter that chooses a channel: its name, or its number if the name is not clear.
 *
 * @param {string[]} names
 * @param {number} index
 */
export function channelParameter(names, index) {
  const same = names.filter((name) => name.toLowerCase() === names[index].toLowerCase());
  const isClear = same.length === 1 && !/^\d+$/.test(names[index]);
  return isClear && names[index].length <= 100 ? names[index] : String(index);
}

/**
 * The index of the chosen channel.
 *
 * @param {string[]} names
 * @param {string | null} chosen value of the parameter; null for the first channel
 */
export function channelIndex(names, chosen) {
  return Math.max(0, names.findIndex((_, index) => channelParameter(names, index) === chosen));
}

export class ChannelChoice {
  #select = byId("channel");
  #names = [];

  /** @param {(parameter: string) => void} onChoose called with the value of the parameter `channel` */
  constructor(onChoose) {
    this.#select.addEventListener("change", () => onChoose(channelParameter(this.#names, this.#select.selectedIndex)));
  }

  /**
   * Offers the channels of an image; hidden if there is no choice.
   *
   * @param {string[]} names
   * @param {string | null} chosen value of the parameter; null for the first channel
   */
  show(names, chosen) {
    byId("channel-field").hidden = names.length < 2;
    this.#names = names;
    const options = names.map((name, index) => new Option(name === String(index) ? name : `${index}: ${name}`));
    this.#select.replaceChildren(...options);
    this.#select.selectedIndex = channelIndex(names, chosen);
  }
}

// @ts-check
// A card for each net, by which a person finds the net that suits an image.

import { labelOf } from "./api.js";
import { byId, makeButton } from "./dom.js";
import { factsOf, purposeOf } from "./nets.js";

export class NetCards {
  #list = byId("nets");

  /** @param {(name: string) => void} onChoose called with the name of the net that the person chooses */
  constructor(onChoose) {
    this.onChoose = onChoose;
  }

  /**
   * Shows the cards; a button chooses a net if there are several.
   *
   * @param {any[]} models each as GET /model describes it
   * @param {string} chosen name of the chosen net
   */
  show(models, chosen) {
    const focused = this.#list.querySelector(":focus")?.dataset.net;
    this.#list.replaceChildren(...models.map((model) => this.#make(model, models.length > 1, model.name === chosen)));
    if (focused) this.#list.querySelector(`[data-net="${focused}"]`)?.focus(); // the button that had it is another one
  }

  #make(model, isChoice, isChosen) {
    const card = document.createElement("li");
    card.classList.toggle("chosen", isChoice && isChosen);
    const title = element("h3", model.name);
    card.append(title, element("p", purposeOf(model)), listFacts(factsOf(model)));
    if (model.has_example) title.before(showExample(model));
    if (isChoice) card.append(this.#makeChoice(model.name, isChosen));
    return card;
  }

  #makeChoice(name, isChosen) {
    const button = makeButton(`Use ${name}`, () => this.onChoose(name));
    button.dataset.net = name;
    button.setAttribute("aria-pressed", String(isChosen));
    return button;
  }
}

function showExample(model) {
  const frame = document.createElement("div");
  frame.className = "example";
  const address = `models/${model.name}/example`;
  frame.append(
    picture(`${address}/image.png?${labelOf(model)}`, `An image for ${model.name}`),
    picture(`${address}/mask.png?${labelOf(model)}`, "and its mask"),
  );
  return frame;
}

function picture(address, text) {
  const image = document.createElement("img");
  return Object.assign(image, { src: address, alt: text });
}

function listFacts(facts) {
  const list = document.createElement("dl");
  list.append(
    ...facts.map(([term, text]) => {
      const row = document.createElement("div");
      row.append(element("dt", term), element("dd", text));
      return row;
    }),
  );
  return list;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

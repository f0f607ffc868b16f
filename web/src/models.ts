// Which model name is asked, and what is behind it.

import { element, make } from "./dom";

const KEY = "weft.model";

/** Offer the model names; one alone is no choice. */
export function showModels(select: HTMLSelectElement, names: string[]): void {
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  const kept = localStorage.getItem(KEY);
  if (kept && names.includes(kept)) select.value = kept;
  select.addEventListener("change", () => localStorage.setItem(KEY, select.value));
  element("model-choice").hidden = names.length < 2;
}

export class BetterModel {
  constructor(private readonly opener: HTMLButtonElement) {
    this.opener.hidden = true;
  }
}

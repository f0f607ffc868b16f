// Light, dark, or as the system has it.

import { keep, kept } from "./storage";

const NAMES = { auto: "as the system has them", light: "light", dark: "dark" };
type Theme = keyof typeof NAMES;
const ORDER: Theme[] = ["auto", "light", "dark"];
const KEY = "weft.theme";

export function chosen(): Theme {
  const theme = kept(KEY) as Theme | null;
  return theme && theme in NAMES ? theme : "auto";
}

export function apply(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
}

/** Go on to the next, and say so on the switch; its name. */
export function cycleTheme(shown: HTMLElement, goesOn = true): string {
  let theme = (document.documentElement.dataset["theme"] ?? "auto") as Theme;
  if (goesOn) {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length]!;
    keep(KEY, theme);
    apply(theme);
  }
  shown.setAttribute("aria-label", `Colours: ${NAMES[theme]}`);
  shown.title = `Colours: ${NAMES[theme]}`;
  shown.dataset["theme"] = theme;
  return NAMES[theme];
}

// Light, dark, or as the system has it.

const NAMES = { auto: "as the system has them", light: "light", dark: "dark" };
type Theme = keyof typeof NAMES;
const ORDER: Theme[] = ["auto", "light", "dark"];
const KEY = "weft.theme";

export function chosen(): Theme {
  try {
    const kept = localStorage.getItem(KEY) as Theme | null;
    return kept && kept in NAMES ? kept : "auto";
  } catch {
    return "auto";
  }
}

export function apply(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
}

/** Go on to the next, and say so on the switch; its name. */
export function cycleTheme(shown: HTMLElement, goesOn = true): string {
  let theme = chosen();
  if (goesOn) {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length]!;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // It holds until the page is left.
    }
    apply(theme);
  }
  shown.setAttribute("aria-label", `Colours: ${NAMES[theme]}`);
  shown.title = `Colours: ${NAMES[theme]}`;
  shown.dataset["theme"] = theme;
  return NAMES[theme];
}

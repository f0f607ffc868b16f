// Making elements. Everything that comes from outside gets onto the page as text: nothing here, or anywhere else, parses HTML.

type Child = Node | string | null | undefined | false;

export interface Attributes {
  class?: string;
  title?: string;
  type?: string;
  hidden?: boolean;
  [name: `aria-${string}` | `data-${string}`]: string;
  role?: string;
  tabindex?: string;
  href?: string;
  rel?: string;
  target?: string;
  lang?: string;
  start?: string;
  value?: string;
  max?: string;
  for?: string;
  id?: string;
  name?: string;
}

/** An element with attributes and children; a string is a text node. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  for (const child of children) if (child) made.append(child);
  return made;
}

/** A button that does something. */
export function button(attributes: Attributes, children: Child | Child[], act: (event: MouseEvent) => unknown): HTMLButtonElement {
  const made = make("button", { type: "button", ...attributes }, ...(Array.isArray(children) ? children : [children]));
  made.addEventListener("click", (event) => void act(event));
  return made;
}

/** The element of the page with this id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M4 12l6 6L20 6",
  again: "M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7",
  close: "M6 6l12 12M18 6L6 18",
  bin: "M4 7h16M10 11v6M14 11v6M6 7l1 13h10l1-13M9 7V4h6v3",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
};

export type Icon = keyof typeof PATHS;

/** A line drawing of 24 by 24, for the eye only. */
export function icon(name: Icon): SVGSVGElement {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 24 24");
  drawn.setAttribute("aria-hidden", "true");
  drawn.classList.add("icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  drawn.append(path);
  return drawn;
}

/** Say something to whoever cannot see it, without moving the focus. */
export function announce(text: string): void {
  element("said").textContent = text;
}

/** A button that copies, and says that it has. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const made = button({ class: "quiet", "aria-label": label, title: label }, icon("copy"), async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      // Without TLS, and not on this machine, a browser gives no clipboard: the old way still works.
      const area = make("textarea");
      area.value = text();
      made.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) return announce("This browser does not let the page copy.");
    }
    made.replaceChildren(icon("check"));
    announce("Copied.");
    setTimeout(() => made.replaceChildren(icon("copy")), 1500);
  });
  return made;
}

/** Ask before something that cannot be undone. */
export function confirmed(title: string, text: string, act: string): Promise<boolean> {
  const dialog = element<HTMLDialogElement>("confirm");
  element("confirm-title").textContent = title;
  element("confirm-text").textContent = text;
  element("confirm-act").textContent = act;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

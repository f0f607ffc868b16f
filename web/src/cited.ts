// Citations: where they stand in an answer, and the passage that each opens.

import { type Annotation, get } from "./api";
import { announce, button, element, icon, make } from "./dom";
import { safe } from "./markdown";

interface Passage {
  text: string;
  id?: string;
  page?: number | null;
  start?: number | null;
  end?: number | null;
  metadata?: Record<string, unknown>;
}

interface DocumentPage {
  name: string;
  title: string | null;
  after: number;
  total: number;
  passages: Passage[];
}

/** Passages that are fetched at a time. */
const PAGE = 12;

/** Where a person finds it: the document, and the page. */
export function placeOf(note: Annotation): string {
  return [note.title || note.source || note.url || "a document", note.page ? `page ${note.page}` : ""].filter(Boolean).join(", ");
}

/** The annotation of each marker, the first where there are several. */
export function byMarker(annotations: readonly Annotation[]): Map<number, Annotation> {
  const found = new Map<number, Annotation>();
  for (const [index, note] of annotations.entries()) {
    const marker = note.marker ?? index + 1;
    if (!found.has(marker)) found.set(marker, note);
  }
  return found;
}

/** An answer with its citations marked, ready to be rendered.
 *
 * The server says at which character each stands (it counts code points). A line that is a quotation is a document's own
 * words: none of its characters is Markdown, and a `[2]` within it is a footnote of the document's. What the server prints
 * behind the mark for readers of plain text is left out: the mark's button says it.
 */
export function marked(content: string, annotations: readonly Annotation[]): string {
  const letters = Array.from(content.replace(/[\uE000-\uE001]/g, "\uFFFD"));
  const at = new Map<number, { end: number; marker: number }>();
  for (const [index, note] of annotations.entries()) {
    const { start_index: start, end_index: end } = note;
    if (start === undefined || end === undefined || start < 0 || end <= start || end > letters.length) continue;
    if (letters[start] !== "[" || letters[end - 1] !== "]") continue;
    at.set(start, { end, marker: note.marker ?? index + 1 });
  }
  if (!at.size) return letters.join("");
  const lines: string[] = [];
  let line = "";
  let plain = "";
  // A line of the server's: a quotation, or a point of a list of them.
  const headOf = (from: number): string => (letters[from] === "\u201c" ? "> " : letters[from] === "-" && letters[from + 1] === " " ? "- " : "");
  let head = headOf(0);
  let hasMark = false;
  const endLine = (): void => {
    if (head && hasMark) {
      const behind = /^ \([^\n]*\)$/.test(plain) ? "" : escaped(plain);
      if (head === "> " && lines.at(-1)?.startsWith("> ")) lines.push(">"); // each in a paragraph of its own
      lines.push(head + (head === "- " ? line.slice(3) : line) + behind); // "\\- " is the point itself
    } else lines.push(line + plain);
    line = plain = "";
    hasMark = false;
  };
  for (let index = 0; index < letters.length; index++) {
    const letter = letters[index]!;
    const mark = at.get(index);
    if (mark) {
      line += `${head ? escaped(plain) : plain}\uE000${mark.marker}\uE001`;
      plain = "";
      hasMark = true;
      index = mark.end - 1;
    } else if (letter === "\n") {
      endLine();
      head = headOf(index + 1);
    } else plain += letter;
  }
  endLine();
  return lines.join("\n");
}

function escaped(text: string): string {
  // The server writes "!\[" for pages that would load the picture.
  return text.replace(/!\\\[/g, "![").replace(/[!-/:-@[-`{-~]/g, "\\$&");
}

/** The button of a citation, in the text. */
export function citeButton(note: Annotation, marker: number): HTMLElement {
  const label = `${marker}: source ${placeOf(note)}`;
  return button({ class: "cite", "aria-label": label, title: placeOf(note) }, String(marker), (event) => open(note, event.currentTarget as HTMLElement));
}

/** The list under an answer. */
export function sourcesOf(annotations: readonly Annotation[]): HTMLElement | null {
  const notes = byMarker(annotations);
  if (!notes.size) return null;
  return make(
    "ul",
    { class: "sources", "aria-label": "Sources" },
    ...[...notes].map(([marker, note]) =>
      make(
        "li",
        {},
        button({ class: "source", title: placeOf(note) }, [make("span", { class: "number" }, String(marker)), make("span", { class: "name" }, placeOf(note))], (event) =>
          open(note, event.currentTarget as HTMLElement),
        ),
      ),
    ),
  );
}

// The passage.

const panel = element<HTMLDialogElement>("passage");
const body = element("passage-body");
let opener: HTMLElement | null = null;
let shownOf = 0;

/** Open a citation's passage: beside the chat, or over it on a small screen. */
export async function open(note: Annotation, from: HTMLElement): Promise<void> {
  const number = ++shownOf;
  opener = from;
  element("passage-title").textContent = note.title || note.source || "Source";
  element("passage-place").textContent = note.page ? `Page ${note.page}` : "";
  body.replaceChildren(make("p", { class: "soft" }, "Looking it up …"));
  if (!panel.open) {
    if (matchMedia("(max-width: 60rem)").matches) panel.showModal();
    else panel.show();
  }
  element("passage-close").focus();
  const original = safe(note.url ?? note.source ?? "");
  try {
    const page = await pageOf(note, { around: note.document_id ?? "", limit: String(PAGE) });
    if (number === shownOf) show(note, page, original);
  } catch (error) {
    if (number !== shownOf) return;
    body.replaceChildren(
      make("p", { class: "note" }, `The document cannot be shown: ${(error as Error).message}`),
      make("blockquote", { class: "quote" }, note.quote ?? ""),
    );
    if (original) body.append(originalLink(original));
  }
}

function pageOf(note: Annotation, where: Record<string, string>): Promise<DocumentPage> {
  const fields = { name: note.source ?? note.title ?? "", collection: note.collection ?? "", ...where };
  return get<DocumentPage>(`/v1/dataprep/document?${new URLSearchParams(fields)}`);
}

function originalLink(address: string): HTMLElement {
  return make("p", {}, make("a", { href: address, rel: "noopener noreferrer nofollow", target: "_blank" }, "Open the original"));
}

/** Passages as one text again: what two of them share stands there once. */
interface Piece {
  heads: string[];
  text: string;
  start: number;
  page: number | null;
  heading: string;
  isNew: boolean;
  isCited: boolean;
}

function pieces(passages: readonly Passage[], note: Annotation): Piece[] {
  const found: Piece[] = [];
  let end = -1;
  for (const passage of passages) {
    const start = passage.start ?? end + 1;
    const letters = Array.from(passage.text);
    // A piece of a table begins with the table's header row, which stands further up.
    const header = Math.min(Number(passage.metadata?.["repeated"] ?? 0), letters.length);
    const before = found.at(-1);
    const skipped = before ? Math.min(header + Math.max(0, end - start), letters.length) : 0;
    const page = passage.page ?? null;
    const heading = headingOf(passage);
    if (skipped < letters.length) {
      let text = letters.slice(skipped).join("");
      let from = start - header + skipped;
      // Headings that stand in the text are shown as such.
      const heads: string[] = [];
      for (const head of heading.split(" > ")) {
        if (!head || !text.startsWith(`${head}\n`) || header) continue;
        const rest = text.slice(head.length).trimStart();
        from += Array.from(text).length - Array.from(rest).length;
        text = rest;
        heads.push(head);
      }
      found.push({
        heads,
        text,
        start: from,
        page,
        heading,
        isNew: !before || before.page !== page || before.heading !== heading || start > end,
        isCited: passage.id !== undefined && passage.id === note.document_id,
      });
    }
    end = Math.max(end, start - header + letters.length);
  }
  return found;
}

function headingOf(passage: Passage): string {
  const known = passage.metadata?.["heading"] ?? passage.metadata?.["headings"];
  return Array.isArray(known) ? known.join(" › ") : typeof known === "string" ? known : "";
}

/** Where the quotation stands in the whole text: from, to. */
function quoted(found: readonly Piece[], note: Annotation): [number, number] | null {
  const { start, end, quote } = note;
  const said = (from: number, to: number): string =>
    found.map((piece) => Array.from(piece.text).slice(Math.max(0, from - piece.start), Math.max(0, to - piece.start)).join("")).join("");
  const packed = (text: string): string => text.replace(/\s+/g, "");
  if (start !== undefined && end !== undefined && (!quote || packed(said(start, end)) === packed(quote))) return [start, end];
  for (const piece of [...found.filter((one) => one.isCited), ...found]) {
    const index = quote ? piece.text.indexOf(quote) : -1;
    if (index >= 0) {
      const from = piece.start + Array.from(piece.text.slice(0, index)).length;
      return [from, from + Array.from(quote!).length];
    }
  }
  const cited = found.find((piece) => piece.isCited);
  return cited ? [cited.start, cited.start + Array.from(cited.text).length] : null;
}

function show(note: Annotation, page: DocumentPage, original: string | null): void {
  element("passage-title").textContent = page.title || note.title || page.name;
  let first = page.after;
  let passages = page.passages;
  const draw = (): HTMLElement | null => {
    const found = pieces(passages, note);
    const range = quoted(found, note);
    const text = make("div", { class: "document" });
    let paragraph: HTMLElement | null = null;
    let mark: HTMLElement | null = null;
    let shownPage: number | null = null;
    for (const piece of found) {
      if (piece.page !== null && piece.page !== shownPage) text.append(make("h3", { class: "page" }, `Page ${(shownPage = piece.page)}`));
      for (const head of piece.heads) text.append(make("h4", {}, head));
      if (piece.isNew || piece.heads.length || !paragraph) text.append((paragraph = make("p")));
      const letters = Array.from(piece.text);
      const from = range ? clamp(range[0] - piece.start, letters.length) : 0;
      const to = range ? clamp(range[1] - piece.start, letters.length) : 0;
      paragraph.append(letters.slice(0, from).join(""));
      if (to > from) {
        const made = make("mark", {}, letters.slice(from, to).join(""));
        mark ??= made;
        paragraph.append(made);
      }
      paragraph.append(letters.slice(Math.max(from, to)).join(""));
      if (piece.isCited) element("passage-place").textContent = [piece.page !== null ? `Page ${piece.page}` : "", piece.heading.replaceAll(" > ", " › ")].filter(Boolean).join(" · ");
    }
    const before = button({ class: "more" }, "Earlier", () => more(-1));
    const after = button({ class: "more" }, "Later", () => more(1));
    before.hidden = first <= 0;
    after.hidden = first + passages.length >= page.total;
    body.replaceChildren(before, text, after);
    if (original) body.append(originalLink(original));
    return mark;
  };
  const number = shownOf;
  const more = async (direction: number): Promise<void> => {
    const after = direction < 0 ? Math.max(0, first - PAGE) : first + passages.length;
    const limit = direction < 0 ? first - after : PAGE;
    const next = await pageOf(note, { after: String(after), limit: String(limit) }).catch((error: Error) => {
      announce(error.message);
      return null;
    });
    if (!next || number !== shownOf) return;
    const height = body.scrollHeight;
    passages = direction < 0 ? [...next.passages, ...passages] : [...passages, ...next.passages];
    first = Math.min(first, after);
    draw();
    if (direction < 0) body.scrollTop += body.scrollHeight - height;
    announce(`${next.passages.length} more passages`);
  };
  draw()?.scrollIntoView({ block: "center" });
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}

export function closePassage(): void {
  if (!panel.open) return;
  panel.close();
}

panel.addEventListener("close", () => {
  shownOf++;
  if (opener?.isConnected) opener.focus();
  opener = null;
});
panel.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closePassage();
});
element("passage-close").append(icon("close"));
element("passage-close").addEventListener("click", closePassage);

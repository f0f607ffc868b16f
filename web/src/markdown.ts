// Markdown as a model writes it, onto the page: elements of a fixed set, and text. There is no HTML in it: `<b>` is shown as `<b>`.
//
// An answer is rendered again with every piece that arrives. Blocks that are as they were keep their elements, so that a
// long answer costs what its last block costs, and a selection in the text above it stays. Nothing here is worse than
// linear in the text, but for bounded looks ahead: text is hostile.

import { copyButton, make } from "./dom";

/** Makes the button of citation n; null: there is no such citation, and `[n]` is text. */
export type Cite = (marker: number) => HTMLElement | null;

const MAX_DEPTH = 8;
const MAX_LINK_TEXT = 600;
const MAX_ADDRESS = 2_000;
const MAX_OPEN = 64;

/** Where the server has put a citation: `\uE000n\uE001`. A private character, so that no text can look like one. */
const MARK = /\uE000(\d+)\uE001/y;

interface Block {
  kind: "text" | "heading" | "code" | "quote" | "list" | "table" | "rule";
  lines: string[];
  level?: number;
  language?: string;
}

// Blocks.

const blank = (line: string): boolean => line.trim() === "";
const indent = (line: string): number => line.length - line.trimStart().length;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]{0,80})$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( {1,4})|\t|$)/;
const CELL = /^:?-+:?$/;

function isRule(line: string): boolean {
  const packed = line.trim().replace(/[ \t]/g, "");
  return packed.length >= 3 && indent(line) < 4 && "-*_".includes(packed[0]!) && packed === packed[0]!.repeat(packed.length);
}

function cells(line: string): string[] {
  const row = line.trim().replace(/^\|/, "");
  const found: string[] = [];
  let cell = "";
  let inCode = false;
  for (let at = 0; at < row.length; at++) {
    const char = row[at]!;
    if (char === "\\" && row[at + 1] === "|") cell += row[++at];
    else if (char === "|" && !inCode) {
      found.push(cell.trim());
      cell = "";
    } else {
      if (char === "`") inCode = !inCode;
      cell += char;
    }
  }
  if (cell.trim() || !row.endsWith("|")) found.push(cell.trim());
  return found;
}

function isTable(lines: string[], at: number): boolean {
  const under = lines[at + 1];
  if (under === undefined || !lines[at]!.includes("|") || !under.includes("-")) return false;
  const marks = cells(under);
  return marks.length === cells(lines[at]!).length && marks.every((mark) => CELL.test(mark));
}

function begins(lines: string[], at: number): boolean {
  const line = lines[at]!;
  const item = ITEM.exec(line);
  return (
    FENCE.test(line) ||
    HEADING.test(line) ||
    isRule(line) ||
    /^ {0,3}>/.test(line) ||
    // In the middle of a paragraph "1986. A year" begins no list.
    (item !== null && line.trim() !== item[2] && (!/\d/.test(item[2]!) || /^1[.)]$/.test(item[2]!))) ||
    isTable(lines, at)
  );
}

function split(lines: string[]): Block[] {
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at]!;
    if (blank(line)) {
      at++;
      continue;
    }
    const fence = FENCE.exec(line);
    if (fence) {
      const close = new RegExp(`^ {0,3}\\${fence[1]![0]}{${fence[1]!.length},}\\s*$`);
      let stop = at + 1;
      while (stop < lines.length && !close.test(lines[stop]!)) stop++;
      blocks.push({ kind: "code", lines: lines.slice(at + 1, stop), language: fence[2]!.trim().split(/\s/)[0]! });
      at = stop + 1;
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      blocks.push({ kind: "heading", lines: [line.trim().slice(heading[1]!.length).trim()], level: heading[1]!.length });
      at++;
      continue;
    }
    if (isRule(line)) {
      blocks.push({ kind: "rule", lines: [] });
      at++;
      continue;
    }
    const from = at;
    if (/^ {0,3}>/.test(line)) {
      while (at < lines.length && /^ {0,3}>/.test(lines[at]!)) at++;
      blocks.push({ kind: "quote", lines: lines.slice(from, at).map((quoted) => quoted.replace(/^ {0,3}> ?/, "")) });
    } else if (ITEM.test(line)) {
      at = listEnd(lines, at);
      blocks.push({ kind: "list", lines: lines.slice(from, at) });
    } else if (isTable(lines, at)) {
      at += 2;
      while (at < lines.length && lines[at]!.includes("|")) at++;
      blocks.push({ kind: "table", lines: lines.slice(from, at) });
    } else {
      at++;
      while (at < lines.length && !blank(lines[at]!) && !begins(lines, at)) at++;
      blocks.push({ kind: "text", lines: lines.slice(from, at) });
    }
  }
  return blocks;
}

function ordered(line: string): boolean {
  return /\d/.test(ITEM.exec(line)![2]!);
}

function listEnd(lines: string[], from: number): number {
  const kind = ordered(lines[from]!);
  let at = from + 1;
  let inFence = false;
  while (at < lines.length) {
    const line = lines[at]!;
    if (FENCE.test(line.trim())) inFence = !inFence;
    if (inFence && indent(line) >= 2) {
      at++;
      continue;
    }
    if (blank(line)) {
      let next = at + 1;
      while (next < lines.length && blank(lines[next]!)) next++;
      const after = lines[next];
      if (after === undefined) return at;
      if (!(indent(after) >= 2 || (ITEM.test(after) && ordered(after) === kind && !isRule(after)))) return at;
      at = next;
      continue;
    }
    if (indent(line) < 2 && ITEM.test(line)) {
      if (ordered(line) !== kind || isRule(line)) return at;
    } else if (indent(line) < 2 && (begins(lines, at) || blank(lines[at - 1]!))) return at;
    at++;
  }
  return at;
}

/** The items of a list, each as its own lines. */
function items(lines: string[]): string[][] {
  const found: string[][] = [];
  let width = 2;
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && (found.length === 0 || indent(line) < width)) {
      width = item[0].length || 2;
      if (line.length <= item[0].length) width = indent(line) + item[2]!.length + 1;
      found.push([line.slice(Math.min(line.length, item[0].length))]);
    } else {
      found.at(-1)!.push(indent(line) >= width ? line.slice(width) : line.trimStart());
    }
  }
  return found;
}

function element(block: Block, cite: Cite, depth: number): HTMLElement {
  switch (block.kind) {
    case "rule":
      return make("hr");
    case "heading": {
      const words = inline(block.lines[0]!, cite, 0);
      if (depth) return make("p", {}, make("strong", {}, ...words));
      // The page's own headings come first: a model's are below them.
      return make((["h3", "h4", "h5", "h6"] as const)[Math.min(block.level!, 3)]!, {}, ...words);
    }
    case "code":
      return code(block);
    case "quote":
      return make("blockquote", {}, ...children(block.lines, cite, depth + 1));
    case "list":
      return list(block, cite, depth);
    case "table":
      return table(block, cite);
    default:
      return make("p", {}, ...inline(block.lines.map((line) => line.trim()).join("\n"), cite, 0));
  }
}

function code(block: Block): HTMLElement {
  const text = block.lines.join("\n");
  const language = block.language ?? "";
  return make(
    "div",
    { class: "code" },
    make("div", { class: "code-head" }, make("span", {}, language || "text"), copyButton("Copy code", () => text)),
    make("pre", { tabindex: "0", "aria-label": language ? `Code, ${language}` : "Code", role: "region" }, make("code", {}, text)),
  );
}

function list(block: Block, cite: Cite, depth: number): HTMLElement {
  const first = ITEM.exec(block.lines[0]!)![2]!;
  const start = Number.parseInt(first, 10);
  const made = Number.isNaN(start) ? make("ul") : make("ol", start === 1 ? {} : { start: String(start) });
  for (const lines of items(block.lines)) {
    const task = /^\[([ xX])\] /.exec(lines[0]!);
    if (task) lines[0] = lines[0]!.slice(4);
    const parts = children(lines, cite, depth + 1);
    // A tight item is its words, not a paragraph of them.
    const only = parts[0];
    const loose = lines.some((line, index) => index > 0 && blank(line));
    const inner = !loose && only instanceof HTMLParagraphElement ? [...only.childNodes, ...parts.slice(1)] : parts;
    made.append(make("li", {}, task ? (task[1] === " " ? "☐ " : "☑ ") : null, ...inner));
  }
  return made;
}

function table(block: Block, cite: Cite): HTMLElement {
  const head = cells(block.lines[0]!);
  const sides = cells(block.lines[1]!).map((mark) =>
    mark.endsWith(":") ? (mark.startsWith(":") ? "middle" : "right") : "left",
  );
  const row = (tag: "th" | "td", line: string[]): HTMLElement =>
    make("tr", {}, ...head.map((_, index) => make(tag, { class: sides[index] ?? "left" }, ...inline(line[index] ?? "", cite, 0))));
  return make(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    make(
      "table",
      {},
      make("thead", {}, row("th", head)),
      make("tbody", {}, ...block.lines.slice(2).map((line) => row("td", cells(line)))),
    ),
  );
}

function children(lines: string[], cite: Cite, depth: number): HTMLElement[] {
  if (depth > MAX_DEPTH) return [make("p", {}, lines.join("\n"))];
  return split(lines).map((block) => element(block, cite, depth));
}

// Words.

interface Open {
  mark: string;
  at: number;
}

const TAGS: Record<string, "strong" | "em" | "del"> = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };
const SPECIAL = /[\\`*_~[!<\n\uE000]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const ADDRESS = /https?:\/\/[^\s<>"'`\\\uE000]{1,2000}/y;

function inline(text: string, cite: Cite, depth: number): (Node | string)[] {
  const out: (Node | string)[] = [];
  const open: Open[] = [];
  const unclosed = new Set<number>();
  let plain = "";
  let at = 0;
  let inAddress = text.indexOf("](");
  const flush = (): void => {
    if (plain) out.push(plain);
    plain = "";
  };
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const found = SPECIAL.exec(text);
    if (!found) {
      plain += text.slice(at);
      break;
    }
    plain += text.slice(at, found.index);
    at = found.index;
    const char = text[at]!;
    if (char === "\\") {
      const next = text[at + 1];
      if (next === "\n") {
        flush();
        out.push(make("br"));
      } else if (next !== undefined && PUNCTUATION.test(next)) plain += next;
      else plain += char + (next ?? "");
      at += 2;
    } else if (char === "\n") {
      flush();
      out.push(make("br"));
      at++;
    } else if (char === "\uE000") {
      MARK.lastIndex = at;
      const mark = MARK.exec(text);
      const cited = mark && cite(Number(mark[1]));
      if (cited) {
        flush();
        out.push(cited);
      } else if (mark) plain += `[${mark[1]}]`;
      at += mark ? mark[0].length : 1;
    } else if (char === "`") {
      let length = 1;
      while (text[at + length] === "`") length++;
      const end = unclosed.has(length) ? -1 : closing(text, at + length, length);
      if (end < 0) {
        unclosed.add(length);
        plain += text.slice(at, at + length);
        at += length;
      } else {
        flush();
        const inner = text.slice(at + length, end).replace(/\n/g, " ");
        out.push(make("code", {}, inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() ? inner.slice(1, -1) : inner));
        at = end + length;
      }
    } else if (char === "h") {
      ADDRESS.lastIndex = at;
      const address = /\w/.test(text[at - 1] ?? " ") ? null : ADDRESS.exec(text);
      if (!address) {
        plain += char;
        at++;
      } else {
        const trimmed = trim(address[0]);
        flush();
        out.push(link(trimmed, [trimmed]));
        at += trimmed.length;
      }
    } else if (char === "<") {
      const close = text.slice(at, at + MAX_ADDRESS).indexOf(">");
      const inner = close > 0 ? text.slice(at + 1, at + close) : "";
      if (/^br ?\/?$/i.test(inner)) {
        flush();
        out.push(make("br"));
        at += close + 1;
      } else if (/^(https?:\/\/|mailto:)[^\s<]+$/.test(inner)) {
        flush();
        out.push(link(inner, [inner.replace(/^mailto:/, "")]));
        at += close + 1;
      } else {
        plain += char;
        at++;
      }
    } else if (char === "[" || char === "!") {
      if (inAddress >= 0 && inAddress < at) inAddress = text.indexOf("](", at);
      const bracket = char === "!" ? at + 1 : at;
      const number = char === "[" ? /^\[(\d{1,3})\](?!\()/.exec(text.slice(at, at + 6)) : null;
      const cited = number && cite(Number(number[1]));
      const target = text[bracket] === "[" && !cited && inAddress >= 0 && inAddress - at < MAX_LINK_TEXT ? linked(text, bracket) : null;
      if (cited) {
        flush();
        out.push(cited);
        at += number[0].length;
      } else if (target && depth < MAX_DEPTH) {
        flush();
        if (char === "!") out.push(image(target.address, target.text));
        // A link in a link is none: its words are only words.
        else out.push(link(target.address, inline(target.text, () => null, MAX_DEPTH)));
        at = target.end;
      } else {
        plain += char;
        at++;
      }
    } else {
      // * _ ~
      let length = 1;
      while (text[at + length] === char) length++;
      const run = text.slice(at, at + length);
      const before = text[at - 1] ?? " ";
      const after = text[at + length] ?? " ";
      const opens = !/\s/.test(after) && (char !== "_" || !/\w/.test(before));
      const closes = !/\s/.test(before) && (char !== "_" || !/\w/.test(after));
      flush();
      let left = char === "~" ? (length === 2 ? 2 : 0) : Math.min(length, 3);
      if (!left || length > 3 || !(opens || closes)) {
        plain += run;
        at += length;
        continue;
      }
      if (closes) {
        while (left) {
          let index = open.length - 1;
          while (index >= 0 && (open[index]!.mark[0] !== char || open[index]!.mark.length > left)) index--;
          if (index < 0) break;
          const { mark, at: from } = open[index]!;
          const inner = out.splice(from);
          inner.shift(); // the mark itself, which stood there as text
          out.push(make(TAGS[mark]!, {}, ...inner));
          open.length = index;
          left -= mark.length;
        }
      }
      if (left && opens && open.length < MAX_OPEN) {
        for (const mark of left === 3 ? [char.repeat(2), char] : [char.repeat(left)]) {
          open.push({ mark, at: out.length });
          out.push(mark);
        }
        left = 0;
      }
      if (left) plain += char.repeat(left);
      at += length;
    }
  }
  flush();
  return out;
}

function closing(text: string, from: number, length: number): number {
  let at = from;
  for (;;) {
    at = text.indexOf("`", at);
    if (at < 0) return -1;
    let run = 1;
    while (text[at + run] === "`") run++;
    if (run === length) return at;
    at += run;
  }
}

/** `[text](address)` from its bracket on; null: it is none. */
function linked(text: string, from: number): { text: string; address: string; end: number } | null {
  let depth = 0;
  let at = from;
  const limit = Math.min(text.length, from + MAX_LINK_TEXT);
  for (; at < limit; at++) {
    const char = text[at];
    if (char === "\\") at++;
    else if (char === "[") depth++;
    else if (char === "]" && --depth === 0) break;
  }
  if (text[at] !== "]" || text[at + 1] !== "(" || depth) return null;
  const begin = at + 2;
  let nested = 1;
  let end = begin;
  for (; end < Math.min(text.length, begin + MAX_ADDRESS); end++) {
    const char = text[end];
    if (char === "\\") end++;
    else if (char === "\n") return null;
    else if (char === "(") nested++;
    else if (char === ")" && --nested === 0) break;
  }
  if (text[end] !== ")" || nested) return null;
  const inside = text.slice(begin, end).trim();
  const address = inside.startsWith("<") ? inside.slice(1).split(">")[0]! : inside.split(/\s/)[0]!;
  return { text: text.slice(from + 1, at), address: address.replace(/\\([!-/:-@[-`{-~])/g, "$1"), end: end + 1 };
}

/** An address without the punctuation that ends the sentence around it. */
function trim(address: string): string {
  let end = address.length;
  while (end > 8) {
    const char = address[end - 1]!;
    const unopened = char === ")" && !address.slice(0, end).includes("(");
    if (!unopened && !".,;:!?*_~]".includes(char)) break;
    end--;
  }
  return address.slice(0, end);
}

/** The address, if it is one that may be followed. */
export function safe(address: string): string | null {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null; // it is relative, or no address at all: what it would lead to here is nobody's intention
  }
}

function link(address: string, words: (Node | string)[]): Node {
  const href = safe(address);
  if (href === null) return make("span", {}, ...words);
  return make("a", { href, rel: "noopener noreferrer nofollow", target: "_blank", title: href }, ...words);
}

/** A picture is not fetched: whoever wrote the text would learn that it is read, and could be told what it says. */
function image(address: string, alt: string): Node {
  const href = safe(address);
  return make(
    "span",
    { class: "image" },
    `Picture${alt ? `: ${alt}` : ""}`,
    href !== null && make("a", { href, rel: "noopener noreferrer nofollow", target: "_blank", title: href }, "open in a new tab"),
  );
}

// Onto the page.

interface Shown {
  keys: string[];
}

const shown = new WeakMap<HTMLElement, Shown>();

/** Show `source` in `into`; `version` changes when the citations that `cite` knows have. */
export function render(into: HTMLElement, source: string, cite: Cite, version = ""): void {
  const blocks = split(source.replace(/\r\n?/g, "\n").split("\n"));
  // A model may begin at any level and leave some out: the outline of the page does not.
  const above: number[] = [];
  for (const block of blocks) {
    if (block.kind !== "heading") continue;
    while (above.length && above.at(-1)! >= block.level!) above.pop();
    above.push(block.level!);
    block.level = above.length - 1;
  }
  const keys = blocks.map((block) => `${version}|${block.kind}|${block.level ?? ""}|${block.language ?? ""}|${block.lines.join("\n")}`);
  const before = shown.get(into)?.keys ?? [];
  let same = 0;
  while (same < keys.length && same < before.length && keys[same] === before[same]) same++;
  while (into.childNodes.length > same) into.lastChild!.remove();
  for (const block of blocks.slice(same)) into.append(element(block, cite, 0));
  shown.set(into, { keys });
}

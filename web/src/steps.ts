// Which services worked on an answer, and how long each took: the journal's events, put together.

import type { JournalEvent } from "./api";
import { make } from "./dom";

interface Step {
  id: number;
  parent: number;
  name: string;
  service: string;
  status: string;
  from: number;
  first: number | null;
  to: number | null;
  detail: unknown;
}

function together(events: JournalEvent[]): Step[] {
  const steps = new Map<number, Step>();
  for (const [id, parent, status, name, service, , , at, detail] of events) {
    let step = steps.get(id);
    if (!step) steps.set(id, (step = { id, parent, name, service, status, from: at, first: null, to: null, detail: null }));
    step.status = status;
    if (detail !== null) step.detail = detail;
    if (status === "first") step.first = at;
    else if (status !== "started") step.to = at;
  }
  // Each step under its parent, in the order in which they began.
  const all = [...steps.values()];
  const ordered: Step[] = [];
  const add = (step: Step): void => {
    if (ordered.includes(step)) return;
    ordered.push(step);
    for (const child of all) if (child.parent === step.id) add(child);
  };
  for (const step of all) if (!steps.has(step.parent)) add(step);
  return ordered;
}

function milliseconds(value: number | null): string {
  if (value === null) return "–";
  if (value < 1) return "under 1 ms";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
}

/** A folded table of the steps; null: there are none. */
export function showSteps(events: JournalEvent[]): HTMLElement | null {
  const steps = together(events);
  if (!steps.length) return null;
  const byId = new Map(steps.map((step) => [step.id, step]));
  const whole = Math.max(...steps.map((step) => step.to ?? step.from), 1);
  const depth = (step: Step): number => {
    let deep = 0;
    for (let up = byId.get(step.parent); up && deep < 8; up = byId.get(up.parent)) deep++;
    return deep;
  };
  const rows = steps.map((step) => {
    const isSkipped = step.status === "skipped";
    const failed = step.status === "failed" ? `failed: ${String(step.detail ?? "")}` : step.status === "ok" ? "" : step.status;
    const bar = make("meter", { max: String(whole), value: String((step.to ?? whole) - step.from), "aria-hidden": "true" });
    return make(
      "tr",
      step.status === "failed" ? { class: "failed" } : {},
      make(
        "th",
        { class: `deep-${depth(step)}` },
        step.name,
        step.service && step.service !== step.name ? make("span", { class: "soft" }, ` ${step.service}`) : null,
        failed ? make("span", { class: "soft" }, ` (${failed})`) : null,
      ),
      make("td", { class: "right" }, step.first === null ? "" : milliseconds(step.first - step.from)),
      make("td", { class: "right" }, isSkipped ? "" : milliseconds(step.to === null ? null : step.to - step.from)),
      make("td", { class: "bar" }, isSkipped ? null : bar),
    );
  });
  const root = steps.find((step) => !byId.has(step.parent));
  const services = new Set(steps.filter((step) => step.status !== "skipped").map((step) => step.service).filter(Boolean)).size;
  const folded = make(
    "details",
    { class: "steps" },
    make("summary", {}, `${services} ${services === 1 ? "service" : "services"}, ${milliseconds(root && root.to !== null ? root.to - root.from : null)}`),
    make(
      "div",
      { class: "table", tabindex: "0", role: "region", "aria-label": "Steps" },
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, make("th", {}, "Step"), make("th", { class: "right" }, "First output"), make("th", { class: "right" }, "In all"), make("th", {}, make("span", { class: "hidden" }, "Share")))),
        make("tbody", {}, ...rows),
      ),
    ),
  );  folded.addEventListener("toggle", () => folded.open && folded.scrollIntoView({ block: "nearest" }));
  return folded;
}

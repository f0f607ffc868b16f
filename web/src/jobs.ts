// Handing documents over: what has gone up, and how far the server is with it. A job goes on without the page.

import { Refusal, get, refused, send, upload } from "./api";
import { announce, button, element, icon, make } from "./dom";
import { keep, kept } from "./storage";

interface Outcome {
  name: string;
  outcome: string;
  reason?: string;
  pages?: number;
  chunks?: number;
}

interface Job {
  id: string;
  state: "waiting" | "running" | "done" | "cancelled";
  collection: string;
  files: number;
  ended: number;
  pages: number;
  at_work: { name: string; phase: string; part?: number | null }[];
  pages_per_minute?: number | null;
  time_left_s?: number | null;
  revision: number;
  outcomes: Outcome[];
}

interface Part {
  file: File;
  name: string;
}

const KEY = "weft.jobs";
/** Jobs whose end the page still wants to tell, across reloads. */
const MAX_KNOWN = 20;
/** Of one request: a large folder becomes several jobs, so that the first files are in while the last still go up. */
const MAX_FILES = 100;
const MAX_BYTES = 64 * 1024 * 1024;
/** How long a question for news may wait. One question at a time: a browser has few connections to a server. */
const WAIT_S = 5;
const RETRY_MS = 3_000;
const MAX_OUTCOMES = 500;

const jobs = element<HTMLUListElement>("jobs");

const WORDS: Record<string, string> = {
  ingested: "is in",
  partly: "is in, in part",
  unchanged: "was in already",
  refused: "was refused",
  failed: "failed",
  cancelled: "was cancelled",
};

/** A card: one upload, then its job. */
class Card {
  readonly item = make("li", { class: "job" });
  private readonly title = make("span", { class: "name" });
  private readonly bar = make("progress", { max: "1" });
  private readonly line = make("p", { class: "soft" });
  private readonly outcomes = make("ul", { class: "outcomes" });
  private readonly close: HTMLButtonElement;
  job: Job | null = null;
  /** Outcomes that are shown: what is asked for are those after them. */
  seen = 0;
  isOver = false;

  constructor(
    title: string,
    private stop: () => void,
    private readonly onGone: (card: Card) => void,
  ) {
    this.title.textContent = this.title.title = title;
    this.bar.setAttribute("aria-label", title);
    this.close = button({ class: "quiet" }, icon("close"), () => (this.isOver ? this.leave() : this.stop()));
    this.item.append(make("div", { class: "job-head" }, this.title, this.close), this.bar, this.line, this.outcomes);
    this.label("Cancel");
    jobs.append(this.item);
  }

  private label(text: string): void {
    this.close.setAttribute("aria-label", `${text} ${this.title.textContent}`);
    this.close.title = text;
  }

  /** How much has gone up. */
  sent(sent: number, total: number): void {
    this.progress(total ? sent / total : null);
    this.line.textContent = sent < total ? `Sending: ${size(sent)} of ${size(total)}` : "Sent. Waiting for the server …";
  }

  /** News of the job. */
  told(job: Job, stop: () => void): void {
    this.job = job;
    this.stop = stop;
    if (this.title.textContent === "") this.title.textContent = this.title.title = counted(job.files);
    for (const outcome of job.outcomes) this.outcome(outcome);
    this.seen += job.outcomes.length;
    if (job.state === "done" || job.state === "cancelled") return this.end(job.state === "cancelled" ? "Cancelled." : "");
    const work = job.at_work[0];
    const part = job.at_work.reduce((sum, one) => sum + (one.part ?? 0), 0);
    this.progress(job.files ? Math.min(1, (job.ended + part) / job.files) : null);
    const said = [
      job.state === "waiting" ? "Waiting for its turn" : work ? `${cap(work.phase)} ${job.files > 1 ? work.name : ""}`.trim() : "Working",
      job.files > 1 ? `${job.ended} of ${job.files} files` : "",
      job.pages_per_minute ? `${Math.round(job.pages_per_minute)} pages a minute` : "",
      job.time_left_s ? `${duration(job.time_left_s)} left` : "",
    ];
    this.line.textContent = said.filter(Boolean).join(" · ");
  }

  private progress(part: number | null): void {
    if (part === null) this.bar.removeAttribute("value");
    else this.bar.value = part;
  }

  outcome(file: Outcome): void {
    if (this.outcomes.childElementCount >= MAX_OUTCOMES) return;
    const good = file.outcome === "ingested" || file.outcome === "unchanged" || file.outcome === "partly";
    this.outcomes.append(
      make(
        "li",
        { class: good ? file.outcome : "bad", title: file.name },
        make("span", { class: "name" }, file.name),
        ` ${WORDS[file.outcome] ?? file.outcome}${file.reason ? `: ${file.reason}` : ""}`,
      ),
    );
    this.outcomes.tabIndex = 0;
    this.outcomes.setAttribute("aria-label", "What became of each file");
  }

  end(text: string, isBad = false): void {
    this.isOver = true;
    this.bar.remove();
    this.line.textContent = text;
    this.line.className = isBad ? "error" : "soft";
    this.line.hidden = !text;
    this.label("Dismiss");
    const last = this.outcomes.childElementCount === 1 ? this.outcomes.textContent : `${this.title.textContent}: done.`;
    announce(text || last || "");
  }

  leave(): void {
    const next = this.item.nextElementSibling ?? this.item.previousElementSibling;
    (next?.querySelector("button") ?? element("files")).focus();
    this.item.remove();
    this.onGone(this);
  }
}

export class Jobs {
  private readonly cards = new Set<Card>();
  private readonly queue: (() => Promise<void>)[] = [];
  private isSending = false;
  private isFollowing = false;

  /**
   * @param collection Where documents go.
   * @param onIn Documents may have come in.
   */
  constructor(
    private readonly collection: () => string,
    private readonly onIn: () => unknown,
  ) {}

  /** Take up the jobs that the page was following when it was left, and those that run. */
  async resume(): Promise<void> {
    const { jobs: active } = await get<{ jobs: Job[] }>("/v1/dataprep/jobs?active=true").catch(() => ({ jobs: [] }));
    const ids = new Set([...known(), ...active.map((job) => job.id)]);
    for (const id of ids) {
      if (this.cardOf(id)) continue; // handed over just now
      const job = await get<Job>(`/v1/dataprep/jobs/${encodeURIComponent(id)}`).catch(() => null);
      if (!job) forget(id);
      else if (!this.cardOf(id)) this.follow(job, this.card(counted(job.files), () => {}));
    }
  }

  /** Hand files over. */
  async hand(parts: Part[]): Promise<void> {
    for (const batch of batches(parts)) {
      const form = new FormData();
      for (const part of batch) form.append("files", part.file, part.name);
      this.post(batch.length === 1 ? batch[0]!.name : counted(batch.length), form, batch.map((part) => part.name));
    }
  }

  /** Hand the address of a page over. */
  link(address: string): void {
    const form = new FormData();
    form.append("link_list", JSON.stringify([address]));
    this.post(address, form, [address]);
  }

  private card(title: string, stop: () => void): Card {
    const card = new Card(title, stop, (gone) => {
      this.cards.delete(gone);
      if (gone.job) forget(gone.job.id);
    });
    this.cards.add(card);
    return card;
  }

  private post(title: string, form: FormData, names: string[]): void {
    const collection = this.collection();
    form.append("replace", "true");
    if (collection) form.append("index_name", collection);
    let isStopped = false;
    let abort = (): void => {};
    const card = this.card(title, () => {
      isStopped = true;
      abort();
      card.end("Cancelled.");
    });
    card.sent(0, 1);
    this.queue.push(async () => {
      if (isStopped) return;
      const sending = upload("/v1/dataprep/ingest", form, { prefer: "respond-async" }, (sent, total) => card.sent(sent, total));
      abort = sending.abort;
      try {
        const { status, body } = await sending.done;
        if (status === 202 && body?.id) return this.follow(body as Job, card);
        // A server that keeps no jobs has done it all, or says what is wrong with it.
        const files = (body?.files ?? []) as Outcome[];
        for (const file of files) card.outcome(file);
        if (files.length) card.end("");
        else if (status === 200) card.end(`${names.length === 1 ? names[0] : title} ${WORDS["ingested"]}.`);
        else card.end(refused(status, body).message, true);
      } catch (error) {
        if (!isStopped) card.end((error as Error).message, true);
      }
      this.onIn();
    });
    void this.sendAll();
  }

  private async sendAll(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    for (let next = this.queue.shift(); next; next = this.queue.shift()) await next();
    this.isSending = false;
  }

  private cardOf(id: string): Card | undefined {
    return [...this.cards].find((card) => card.job?.id === id);
  }

  private follow(job: Job, card: Card): void {
    const twin = this.cardOf(job.id); // it was found among those that run before its own reply was here
    if (twin) {
      twin.item.remove();
      this.cards.delete(twin);
    }
    remember(job.id);
    this.tell(card, job);
    void this.followAll();
  }

  private tell(card: Card, job: Job): void {
    card.told(job, () => void this.cancel(job.id, card));
    if (card.isOver) this.onIn();
  }

  private async cancel(id: string, card: Card): Promise<void> {
    try {
      await send<Job>(`/v1/dataprep/jobs/${encodeURIComponent(id)}`, undefined, "DELETE");
    } catch (error) {
      card.end((error as Error).message, true);
    }
  }

  /** Ask for news of all jobs, until all have ended: the oldest is waited for, the others are looked at in passing. */
  private async followAll(): Promise<void> {
    if (this.isFollowing) return;
    this.isFollowing = true;
    for (;;) {
      const active = [...this.cards].filter((card) => card.job && !card.isOver);
      if (!active.length) break;
      let ended = 0;
      for (const [index, card] of active.entries()) {
        const { id, revision } = card.job!;
        const query = new URLSearchParams({ since: String(revision), after: String(card.seen), wait_s: String(index ? 0 : WAIT_S) });
        try {
          const before = card.job!.ended;
          const job = await get<Job>(`/v1/dataprep/jobs/${encodeURIComponent(id)}?${query}`);
          if (card.isOver || !this.cards.has(card)) continue;
          this.tell(card, job);
          if (job.ended > before && !card.isOver) ended++;
        } catch (error) {
          if (error instanceof Refusal && error.status === 404) {
            card.end("The server no longer knows this job.", true);
            forget(id);
          } else await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
      if (ended) this.onIn(); // what is in can be asked at once
    }
    this.isFollowing = false;
  }
}

function batches(parts: Part[]): Part[][] {
  const found: Part[][] = [];
  let bytes = 0;
  for (const part of parts) {
    const last = found.at(-1);
    if (!last || last.length >= MAX_FILES || bytes + part.file.size > MAX_BYTES) {
      found.push([part]);
      bytes = part.file.size;
    } else {
      last.push(part);
      bytes += part.file.size;
    }
  }
  return found;
}

function known(): string[] {
  try {
    const ids = JSON.parse(kept(KEY) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string").slice(-MAX_KNOWN) : [];
  } catch {
    return [];
  }
}

function remember(id: string): void {
  keep(KEY, JSON.stringify([...known().filter((other) => other !== id), id].slice(-MAX_KNOWN)));
}

function forget(id: string): void {
  keep(KEY, JSON.stringify(known().filter((other) => other !== id)));
}

function counted(files: number): string {
  return `${files} ${files === 1 ? "file" : "files"}`;
}

function cap(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
}

function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** The files that were dropped, those in folders too. */
export async function dropped(transfer: DataTransfer): Promise<Part[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = [...transfer.files].map((file) => ({ file, name: file.name }));
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found: Part[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some) if (!one.name.startsWith(".")) await walk(one);
    }
  };
  for (const entry of entries) if (entry) await walk(entry);
  return found;
}

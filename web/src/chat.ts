// The chat page. It speaks only the HTTP API, and puts everything that comes from outside on the page as text.

interface Annotation { marker?: number; title?: string; source?: string; page?: number; quote?: string }
interface Delta { content?: string; annotations?: Annotation[] }
interface Chunk { choices?: { delta?: Delta; finish_reason?: string | null }[]; error?: { message: string } }
interface Turn { role: "user" | "assistant"; content: string }
interface FileEntry { name: string; chunks: number }
interface FileOutcome { name: string; outcome: string; reason?: string; chunks?: number }

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

const messages = element<HTMLOListElement>("messages");
const question = element<HTMLTextAreaElement>("question");
const send = element<HTMLButtonElement>("send");
const stop = element<HTMLButtonElement>("stop");
const model = element<HTMLSelectElement>("model");
const progress = element<HTMLParagraphElement>("progress");
const list = element<HTMLUListElement>("list");
const welcome = element<HTMLParagraphElement>("welcome");

let history: Turn[] = [];
let running: AbortController | null = null;

function make(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** What a failed reply says, in either of the API's error forms. */
async function reason(response: Response): Promise<string> {
  const body = await response.json().catch(() => null);
  return body?.error?.message ?? body?.detail ?? body?.title ?? `${response.status} ${response.statusText}`;
}

/** The data of each server-sent event of a reply. */
async function* eventsOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  const reader = body.pipeThrough<string>(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}

function show(role: string, text = ""): { item: HTMLElement; text: HTMLElement } {
  welcome.hidden = true;
  const item = make("li", role);
  const body = make("div", "text", text);
  item.append(body);
  messages.append(item);
  item.scrollIntoView({ block: "end" });
  return { item, text: body };
}

function showSources(item: HTMLElement, annotations: Annotation[]): void {
  const sources = make("ul", "sources");
  for (const [index, note] of annotations.entries()) {
    const page = note.page ? `, page ${note.page}` : "";
    sources.append(make("li", "", `[${note.marker ?? index + 1}] ${note.title ?? note.source ?? "document"}${page}`));
  }
  item.append(sources);
}

async function ask(text: string): Promise<void> {
  const turns = history; // "New chat" begins another list while this answer may still be coming
  turns.push({ role: "user", content: text });
  show("user", text);
  const shown = show("assistant");
  shown.item.setAttribute("aria-busy", "true");
  const asked = (running = new AbortController());
  send.hidden = true;
  stop.hidden = false;
  const annotations: Annotation[] = [];
  let answer = "";
  let ended = false;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: model.value, messages: turns, stream: true }),
      signal: asked.signal,
    });
    if (!response.ok || !response.body) throw new Error(await reason(response));
    for await (const data of eventsOf(response.body)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices?.[0]?.delta;
      if (delta?.content) {
        answer += delta.content;
        shown.text.textContent = answer;
        messages.scrollTop = messages.scrollHeight;
      }
      if (delta?.annotations) annotations.push(...delta.annotations);
    }
    if (!ended) throw new Error("the answer was cut short");
  } catch (error) {
    if (turns === history) {
      const said = asked.signal.aborted ? "Stopped." : (error as Error).message;
      shown.item.append(make("p", asked.signal.aborted ? "note" : "error", said));
    }
  } finally {
    shown.item.removeAttribute("aria-busy");
    if (annotations.length) showSources(shown.item, annotations);
    // A question without an answer is not sent again with the next one.
    if (answer) turns.push({ role: "assistant", content: answer });
    else turns.pop();
    if (running === asked) {
      running = null;
      send.hidden = false;
      stop.hidden = true;
      question.focus();
    }
    messages.scrollTop = messages.scrollHeight;
  }
}

async function post(path: string, body: unknown): Promise<Response> {
  return fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

async function refresh(): Promise<void> {
  const response = await post("/v1/dataprep/get", {});
  if (!response.ok) {
    element("documents").hidden = response.status === 404;
    if (response.status === 404) question.placeholder = "Ask a question";
    return;
  }
  const files = (await response.json()) as FileEntry[];
  list.replaceChildren();
  welcome.textContent = files.length
    ? "Ask something that is in your documents. The answer quotes its source."
    : "Hand over a document, then ask about it. The answer quotes its source. Nothing leaves this machine unless you have placed a service elsewhere.";
  for (const file of files) {
    const item = make("li", "");
    item.append(make("span", "", file.name));
    const remove = make("button", "", "×");
    remove.setAttribute("aria-label", `Delete ${file.name}`);
    remove.addEventListener("click", async () => {
      if (!confirm(`Delete ${file.name}?`)) return;
      const deleted = await post("/v1/dataprep/delete", { file_path: file.name });
      progress.textContent = deleted.ok ? "" : await reason(deleted);
      await refresh();
    });
    item.append(remove);
    list.append(item);
  }
}

async function upload(files: FileList | File[]): Promise<void> {
  if (!files.length) return;
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  form.append("replace", "true");
  progress.textContent = files.length === 1 ? `Reading ${files[0]?.name} …` : `Reading ${files.length} files …`;
  const response = await fetch("/v1/dataprep/ingest", { method: "POST", body: form }).catch(() => null);
  if (!response) {
    progress.textContent = "The server cannot be reached.";
    return;
  }
  const body = await response.clone().json().catch(() => null);
  const outcomes = (body?.files ?? []) as FileOutcome[];
  progress.textContent = outcomes.length
    ? outcomes.map((file) => `${file.name}: ${file.outcome}${file.reason ? ` (${file.reason})` : ""}`).join("\n")
    : response.ok ? "Done." : await reason(response);
  await refresh();
}

async function start(): Promise<void> {
  const response = await fetch("/v1/models");
  const models = response.ok ? ((await response.json()) as { data: { id: string; contract?: string }[] }).data : [];
  for (const entry of models.filter((known) => !known.contract || known.contract === "chat")) {
    model.append(new Option(entry.id, entry.id));
  }
  if (!response.ok) show("error", await reason(response));
  await refresh();
  question.focus();
}

element<HTMLFormElement>("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || running) return;
  question.value = "";
  void ask(text);
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element<HTMLFormElement>("form").requestSubmit();
  }
});
stop.addEventListener("click", () => running?.abort());
element("clear").addEventListener("click", () => {
  history = [];
  running?.abort();
  messages.replaceChildren();
  welcome.hidden = false;
  question.focus();
});
const files = element<HTMLInputElement>("files");
files.addEventListener("change", () => void upload(Array.from(files.files ?? [])).then(() => (files.value = "")));
const drop = element("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") void upload((event as DragEvent).dataTransfer?.files ?? []);
  });
}
void start();

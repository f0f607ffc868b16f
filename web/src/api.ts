// The HTTP API, as the page uses it.

export interface Annotation {
  type?: string;
  marker?: number;
  start_index?: number;
  end_index?: number;
  document_id?: string;
  title?: string;
  source?: string;
  page?: number;
  start?: number;
  end?: number;
  score?: number;
  quote?: string;
  collection?: string;
  url?: string;
}

/** `[step, parent, status, name, service, attempt, iteration, at_ms, detail]` */
export type JournalEvent = [number, number, string, string, string, number, number, number, unknown];

interface Delta {
  content?: string;
  annotations?: Annotation[];
}

export interface Chunk {
  choices?: { delta?: Delta; finish_reason?: string | null }[];
  error?: { message: string };
}

/** What the server said when it refused; in the words that it chose for people. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly body: unknown = null,
  ) {
    super(message);
  }
}

const LOCKED = "This server asks for its access token. Open the link that it printed when it was started, then reload this page.";

let hasLogin = false;

/** From now on a 401 means that the login is over. */
export function leadsToLogin(): void {
  hasLogin = true;
}

/** What a failed reply says, in either of the API's error forms. */
export async function refusal(response: Response): Promise<Refusal> {
  const body = await response.json().catch(() => null);
  return refused(response.status, body, response.statusText);
}

export function refused(status: number, body: any, statusText = ""): Refusal {
  if (status === 401 && hasLogin) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    return new Refusal("You are logged out.", status, body);
  }
  if (status === 401) return new Refusal(LOCKED, status, body);
  const said = body?.error?.message ?? body?.detail ?? body?.title;
  const hint = body?.error?.hint ?? body?.hint;
  const words = said ? (hint && !said.includes(hint) ? `${said}: ${hint}` : said) : `${status} ${statusText}`.trim();
  return new Refusal(words, status, body);
}

const AWAY = "The server cannot be reached. Is it still running?";

/** `fetch` whose failure is in words. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refusal(AWAY, 0);
  }
}

/** JSON from the server; a refusal is thrown. */
export async function get<T>(path: string): Promise<T> {
  const response = await request(path);
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}

/** JSON to the server and back; a refusal is thrown. */
export async function send<T>(path: string, body: unknown, method = "POST"): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const response = await request(path, init);
  if (!response.ok) throw await refusal(response);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** Each server-sent event of a reply: its name and its data. */
export async function* eventsOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<{ name: string; data: string }> {
  const reader = body.pipeThrough<string>(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop() ?? "";
    for (const part of parts) {
      let name = "message";
      const data: string[] = [];
      for (const line of part.split(/\r?\n/)) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line.startsWith("event:")) name = line.slice(6).trim();
      }
      if (data.length) yield { name, data: data.join("\n") };
    }
  }
}

/** Send a form, and say how much of it has gone. `fetch` cannot tell. */
export function upload(
  path: string,
  form: FormData,
  headers: Record<string, string>,
  onProgress: (sent: number, total: number) => void,
): { done: Promise<{ status: number; body: any }>; abort: () => void } {
  const sending = new XMLHttpRequest();
  const done = new Promise<{ status: number; body: any }>((resolve, reject) => {
    sending.open("POST", path);
    for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
    sending.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    sending.addEventListener("load", () => {
      let body: any = null;
      try {
        body = JSON.parse(sending.responseText);
      } catch {
        // A reply that is no JSON is said by its status.
      }
      resolve({ status: sending.status, body });
    });
    sending.addEventListener("error", () => reject(new Refusal(AWAY, 0)));
    sending.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    sending.send(form);
  });
  return { done, abort: () => sending.abort() };
}

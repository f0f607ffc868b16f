// The conversation: questions, answers as they come, and what can be done with them.

import { type Annotation, type Chunk, type JournalEvent, eventsOf, refusal, request } from "./api";
import { byMarker, citeButton, closePassage, marked, sourcesOf } from "./cited";
import { announce, button, copyButton, element, icon, make } from "./dom";
import { type Conversation, type History, type Turn, begun, titled } from "./history";
import { render } from "./markdown";
import { showSteps } from "./steps";

const messages = element<HTMLOListElement>("messages");
const scroller = element("scroller");
const question = element<HTMLTextAreaElement>("question");
const send = element<HTMLButtonElement>("send");
const stop = element<HTMLButtonElement>("stop");

/** Pixels from the end within which a reader follows an answer as it grows. */
const NEAR_END = 80;
/** Of an answer that is read out when it has ended. */
const MAX_SAID = 700;

export interface Asking {
  model: () => string;
  collection: () => string;
  history: History;
  /** The conversation has become empty, or is no longer. */
  onShown: (isEmpty: boolean) => void;
}

export class Chat {
  private conversation: Conversation = begun();
  private running: AbortController | null = null;

  constructor(private readonly asking: Asking) {
    stop.addEventListener("click", () => this.running?.abort());
  }

  get id(): string {
    return this.conversation.id;
  }

  get isAnswering(): boolean {
    return this.running !== null;
  }

  /** Whether something has been asked. */
  get isBegun(): boolean {
    return this.conversation.turns.length > 0;
  }

  /** Begin another conversation; an answer that is still coming ends. */
  begin(): void {
    this.show(begun());
    question.focus();
  }

  open(id: string): void {
    const found = this.asking.history.find(id);
    if (found) this.show(structuredClone(found));
  }

  private show(conversation: Conversation): void {
    const left = this.running;
    this.running = null;
    left?.abort();
    send.hidden = false;
    stop.hidden = true;
    closePassage();
    this.conversation = conversation;
    messages.replaceChildren();
    for (const turn of conversation.turns) {
      if (turn.role === "user") this.addQuestion(turn);
      else this.addAnswer(turn).end();
    }
    this.offerAgain();
    this.asking.onShown(!conversation.turns.length);
    scroller.scrollTop = scroller.scrollHeight;
  }

  async ask(text: string): Promise<void> {
    const turn: Turn = { role: "user", content: text };
    this.conversation.title ||= titled(text);
    this.conversation.turns.push(turn);
    this.asking.onShown(false);
    this.addQuestion(turn);
    await this.answer();
  }

  /** Ask the last question again; its answer goes. */
  async again(): Promise<void> {
    const { turns } = this.conversation;
    if (this.running || !turns.length) return;
    if (turns.at(-1)!.role === "assistant") {
      turns.pop();
      messages.lastElementChild?.remove();
    }
    await this.answer();
  }

  private async answer(): Promise<void> {
    const conversation = this.conversation;
    const turn: Turn = { role: "assistant", content: "" };
    const messagesSent = spoken(conversation.turns);
    conversation.turns.push(turn);
    for (const old of messages.querySelectorAll(".again")) old.remove();
    const shown = this.addAnswer(turn);
    shown.begin();
    scroller.scrollTop = scroller.scrollHeight;
    const asked = (this.running = new AbortController());
    send.hidden = true;
    stop.hidden = false;
    announce("Answering …");
    this.asking.history.put(conversation);
    try {
      await this.read(turn, messagesSent, asked.signal, () => shown.draw());
    } catch (error) {
      if (asked.signal.aborted) turn.stopped = true;
      else turn.error = (error as Error).message;
    }
    shown.end();
    if (this.asking.history.find(conversation.id)) this.asking.history.put(conversation);
    if (this.running !== asked) return;
    this.running = null;
    const hadFocus = document.activeElement === stop || document.activeElement === document.body;
    send.hidden = false;
    stop.hidden = true;
    if (hadFocus && matchMedia("(pointer: fine)").matches) question.focus(); // on a phone it would bring up the keyboard
    if (this.conversation !== conversation) return;
    this.offerAgain();
    announce(turn.error ?? (turn.stopped ? "Stopped." : `Answer: ${(shown.said() || "nothing").slice(0, MAX_SAID)}`));
  }

  private async read(turn: Turn, sent: { role: string; content: string }[], signal: AbortSignal, draw: () => void): Promise<void> {
    const collection = this.asking.collection();
    const response = await request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", "x-weft-journal": "on" },
      body: JSON.stringify({ model: this.asking.model(), messages: sent, stream: true, ...(collection && { collection }) }),
      signal,
    });
    if (!response.ok || !response.body) throw await refusal(response);
    const annotations: Annotation[] = [];
    let ended = false;
    let failure: Error | null = null;
    for await (const { name, data } of eventsOf(response.body)) {
      if (data === "[DONE]") {
        ended = true;
        continue;
      }
      const told = JSON.parse(data) as Chunk & { events?: JournalEvent[] };
      if (name === "weft.journal") {
        turn.journal = told.events ?? [];
        continue;
      }
      if (told.error) {
        failure = new Error(told.error.message);
        continue; // what the journal says of it comes behind it
      }
      const delta = told.choices?.[0]?.delta;
      if (delta?.content) turn.content += delta.content;
      if (delta?.annotations) annotations.push(...delta.annotations.map((note) => (collection ? { ...note, collection } : note)));
      if (annotations.length) turn.annotations = annotations;
      draw();
    }
    if (failure) throw failure;
    if (!ended) throw new Error("The answer was cut short.");
  }

  private addQuestion(turn: Turn): void {
    messages.append(make("li", { class: "user" }, make("h2", { class: "hidden" }, "You asked"), make("div", { class: "text" }, turn.content)));
  }

  private addAnswer(turn: Turn): { begin: () => void; draw: () => void; end: () => void; said: () => string } {
    const text = make("div", { class: "text" });
    const item = make("li", { class: "assistant" }, make("h2", { class: "hidden" }, "Answer"), text);
    messages.append(item);
    let waiting = 0;
    const paint = (): void => {
      waiting = 0;
      const follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
      const notes = turn.annotations ?? [];
      const known = byMarker(notes);
      render(
        text,
        marked(turn.content, notes),
        (marker) => {
          const note = known.get(marker);
          return note ? citeButton(note, marker) : null;
        },
        String(notes.length),
      );
      if (follows) scroller.scrollTop = scroller.scrollHeight;
    };
    return {
      begin: () => item.setAttribute("aria-busy", "true"),
      draw: () => {
        waiting ||= requestAnimationFrame(paint);
      },
      end: () => {
        cancelAnimationFrame(waiting);
        const follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
        paint();
        item.removeAttribute("aria-busy");
        if (turn.error) item.append(make("p", { class: "error", role: "alert" }, turn.error));
        if (turn.stopped) item.append(make("p", { class: "note" }, "Stopped."));
        const sources = sourcesOf(turn.annotations ?? []);
        if (sources) item.append(sources);
        const steps = turn.journal && showSteps(turn.journal);
        item.append(
          make("div", { class: "actions" }, turn.content ? copyButton("Copy answer", () => turn.content) : null, steps),
        );
        if (follows) scroller.scrollTop = scroller.scrollHeight;
      },
      said: () => text.innerText,
    };
  }

  private offerAgain(): void {
    const last = messages.lastElementChild;
    if (last?.classList.contains("assistant")) {
      last.querySelector(".actions")?.prepend(
        button({ class: "quiet again", "aria-label": "Answer again", title: "Answer again" }, icon("again"), () => this.again()),
      );
    }
  }
}

/** What is sent of a conversation: a question that was not answered is not asked again with the next one. */
function spoken(turns: readonly Turn[]): { role: string; content: string }[] {
  const sent: { role: string; content: string }[] = [];
  for (const [index, turn] of turns.entries()) {
    const next = turns[index + 1];
    if (turn.role === "user" && next && !(next.role === "assistant" && next.content)) continue;
    if (turn.content) sent.push({ role: turn.role, content: turn.content });
  }
  return sent;
}

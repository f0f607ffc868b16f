// Conversations, kept in this browser and nowhere else. Bounded: the oldest go first.

import type { Annotation, JournalEvent } from "./api";
import { keep, kept } from "./storage";

export interface Turn {
  role: "user" | "assistant";
  content: string;
  annotations?: Annotation[];
  journal?: JournalEvent[];
  /** How an answer ended that did not end well. */
  error?: string;
  stopped?: boolean;
}

export interface Conversation {
  id: string;
  title: string;
  updated: number;
  turns: Turn[];
}

interface Stored {
  version: 1;
  conversations: Conversation[];
}

const KEY = "weft.history";
const MAX_CONVERSATIONS = 50;
/** Of the text that is kept: browsers give a site about five million characters. */
const MAX_CHARACTERS = 2_000_000;
const MAX_TITLE = 60;

export class History {
  private known: Conversation[] = [];
  /** False: this browser keeps nothing (private window, blocked); the page works all the same. */
  isKept = true;

  /** Empty: whose they are is not known yet, and nothing is shown. */
  private key = "";

  constructor(private readonly onChange: () => void) {
    // Another tab has written.
    addEventListener("storage", (event) => {
      if (event.key !== this.key && event.key !== null) return;
      this.read();
      this.onChange();
    });
  }

  /** Show those of one person: several may log in with one browser. Nobody in particular is the empty string. */
  belongTo(owner: string): void {
    const begun = this.known;
    this.key = owner ? `${KEY} ${owner}` : KEY;
    this.read();
    if (begun.length) {
      this.known = [...begun, ...this.known];
      this.write();
    } else this.onChange();
  }

  /** All of them, the latest first. */
  all(): readonly Conversation[] {
    return this.known;
  }

  find(id: string): Conversation | undefined {
    return this.known.find((conversation) => conversation.id === id);
  }

  /** Keep a conversation as it is now. */
  put(conversation: Conversation): void {
    this.read();
    conversation.updated = Date.now();
    this.known = [conversation, ...this.known.filter((other) => other.id !== conversation.id)];
    this.write();
  }

  /** Whether it was there. */
  remove(id: string): void {
    this.read();
    this.known = this.known.filter((conversation) => conversation.id !== id);
    this.write();
  }

  clear(): void {
    this.known = [];
    this.write();
  }

  private read(): void {
    if (!this.isKept || !this.key) return; // what there is, is here
    try {
      const stored = JSON.parse(kept(this.key) ?? "null") as Stored | null;
      this.known = stored?.version === 1 && Array.isArray(stored.conversations) ? stored.conversations.filter(isWhole) : [];
    } catch {
      this.known = []; // what cannot be read is as good as gone
    }
  }

  private write(): void {
    this.known = this.known.slice(0, MAX_CONVERSATIONS);
    while (this.key) {
      const text = JSON.stringify({ version: 1, conversations: this.known } satisfies Stored);
      if (text.length <= MAX_CHARACTERS || this.known.length <= 1) {
        this.isKept = keep(this.key, text);
        if (this.isKept || this.known.length <= 1) break;
      }
      this.known = this.known.slice(0, -1);
    }
    this.onChange();
  }
}

function isWhole(value: unknown): value is Conversation {
  const entry = value as Conversation | null;
  return (
    typeof entry?.id === "string" &&
    typeof entry.title === "string" &&
    typeof entry.updated === "number" &&
    Array.isArray(entry.turns) &&
    entry.turns.every((turn) => (turn?.role === "user" || turn?.role === "assistant") && typeof turn.content === "string")
  );
}

/** A conversation without a turn. */
export function begun(): Conversation {
  return { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), title: "", updated: Date.now(), turns: [] };
}

/** What a list calls a conversation: its first question. */
export function titled(question: string): string {
  const line = question.trim().split("\n")[0]!.replace(/\s+/g, " ");
  const letters = Array.from(line);
  return letters.length <= MAX_TITLE ? line : `${letters.slice(0, MAX_TITLE - 1).join("").trimEnd()}…`;
}

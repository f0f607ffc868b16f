/** A queue that sends jobs again with growing pauses, kept in the browser's storage. */

export interface Job {
  id: string;
  url: string;
  body: unknown;
  attempts: number;
  notBefore: number;
}

const FIRST_PAUSE_MS = 750;
const LONGEST_PAUSE_MS = 90_000;
const MAX_ATTEMPTS = 8;

/** Pauses double each time, with up to a fifth of jitter, so that clients do not come back all at once. */
export function pauseFor(attempts: number, random: () => number = Math.random): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** attempts, LONGEST_PAUSE_MS);
  return pause * (1 + random() / 5);
}

export class RetryQueue {
  constructor(private readonly storage: Storage, private readonly key = "retry-queue.v2") {}

  push(url: string, body: unknown): Job {
    const job: Job = { id: crypto.randomUUID(), url, body, attempts: 0, notBefore: 0 };
    this.save([...this.load(), job]);
    return job;
  }

  /** Sends what is due. A 4xx answer other than 408 and 429 drops the job: sending it again would not help. */
  async flush(now: number = Date.now()): Promise<void> {
    const kept: Job[] = [];
    for (const job of this.load()) {
      if (job.notBefore > now) { kept.push(job); continue; }
      const status = await this.send(job);
      const hopeless = status >= 400 && status < 500 && status !== 408 && status !== 429;
      if (status < 300 || hopeless) continue;
      if (job.attempts + 1 < MAX_ATTEMPTS) kept.push({ ...job, attempts: job.attempts + 1, notBefore: now + pauseFor(job.attempts) });
    }
    this.save(kept);
  }

  private async send(job: Job): Promise<number> {
    try {
      const reply = await fetch(job.url, { method: "POST", body: JSON.stringify(job.body) });
      return reply.status;
    } catch {
      return 599; // the network is away
    }
  }

  private load(): Job[] { return JSON.parse(this.storage.getItem(this.key) ?? "[]"); }
  private save(jobs: Job[]): void { this.storage.setItem(this.key, JSON.stringify(jobs)); }
}

import { Breaker, type BreakerOptions } from "../client/breaker.ts";
import type { Answer, ExchangeOptions } from "../client/exchange.ts";
import { ExchangeError, type Patience } from "../client/patience.ts";
import { Server, TRANSFER } from "../client/servers.ts";
import type { Budget } from "./budget.ts";

/** A tool waits: a server that is well answers in milliseconds. */
const TOOL: Patience = { connect: 1_000, answer: 2_000, stall: 2_000 };
/** A body of a tool that is not deferred: the server may need a moment to make it durable, ms. */
const UPLOAD_ANSWER = 3_000;
/** Rests are short, because the probes after them cost no tool anything. */
const BREAKER: BreakerOptions = { rest: 2_000, longestRest: 60_000, badAnswers: 3 };

export interface UpstreamEvents {
  opened(upstream: Upstream, why: string): void;
  closed(upstream: Upstream): void;
  /** It does not take its token. */
  refused(upstream: Upstream): void;
}

/**
 * One server as the daemon uses it. A tool's request never finds out whether a server that failed works again: probes in the
 * background do. All requests that wait for a server end the moment one of them finds it dead.
 */
export class Upstream {
  readonly index: number;
  readonly url: string;
  readonly breaker: WatchedBreaker;
  readonly #budget: Budget;
  readonly #events: UpstreamEvents;
  readonly #waiting = new Set<AbortController>();
  #server: Server;
  /** It has used up what the job may lose. */
  #given = false;

  constructor(index: number, settings: { url: string; token?: string | undefined }, budget: Budget, events: UpstreamEvents) {
    this.index = index;
    this.#budget = budget;
    this.#events = events;
    this.breaker = new WatchedBreaker(
      () => {
        for (const one of this.#waiting) one.abort();
        events.opened(this, this.#given ? "it cost the job enough and is not asked again" : "it is left alone until it answers a probe");
      },
      () => events.closed(this),
    );
    this.#server = new Server({ ...settings, priority: index, enabled: true }, this.breaker);
    this.url = this.#server.url;
  }

  get available(): boolean {
    return !this.breaker.open && !this.#given;
  }

  renew(token: string): void {
    this.#server = new Server({ url: this.url, token, priority: this.index, enabled: true }, this.breaker);
  }

  /** A request a tool waits for. @param target path and query as the server's URL is followed by, or a URL @param stores a body is made durable @throws ExchangeError */
  async ask(target: string | URL, options: Omit<ExchangeOptions, "patience">, stores = false): Promise<Answer> {
    const waiting = new AbortController();
    const abort = () => waiting.abort();
    options.signal?.addEventListener("abort", abort);
    this.#waiting.add(waiting);
    const since = performance.now();
    const patience = { connect: this.#budget.within(TOOL.connect), answer: this.#budget.within(stores ? UPLOAD_ANSWER : TOOL.answer), stall: this.#budget.within(TOOL.stall) };
    try {
      return this.#judged(await this.#server.request(target, { ...options, patience, signal: waiting.signal }));
    } catch (error) {
      if (error instanceof ExchangeError && !options.signal?.aborted) this.failed(since);
      throw error;
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  /** A request nobody waits for. @throws ExchangeError */
  async background(target: string | URL, options: Omit<ExchangeOptions, "patience">): Promise<Answer> {
    return this.#judged(await this.#server.request(target, { ...options, patience: TRANSFER }));
  }

  #judged(answer: Answer): Answer {
    if (answer.status === 401) this.#events.refused(this);
    return answer;
  }

  /** A tool has waited for nothing since then (`performance.now()`). */
  failed(since: number): void {
    this.#budget.spend(since);
    if (this.#budget.spent) this.#given = true;
  }

  /** What it sent broke off or was not what it should be, in a way that costs time. */
  dead(since: number): void {
    this.failed(since);
    this.breaker.dead();
  }

  /** Asks a server that failed whether it is well again, when its rest is over. */
  async probe(): Promise<void> {
    if (!this.breaker.open || !this.breaker.take()) return;
    try {
      const answer = await this.#server.request(new URL("/readyz", this.url), { patience: TOOL });
      answer.discard();
    } catch {
      // Server.request has told the breaker.
    } finally {
      this.breaker.release();
    }
  }
}

class WatchedBreaker extends Breaker {
  readonly #onOpen: () => void;
  readonly #onClose: () => void;
  #open = false;

  constructor(onOpen: () => void, onClose: () => void) {
    super(BREAKER);
    this.#onOpen = onOpen;
    this.#onClose = onClose;
  }

  get open(): boolean {
    return this.#open;
  }

  override dead(now?: number): void {
    super.dead(now);
    if (this.#open) return;
    this.#open = true;
    this.#onOpen();
  }

  override good(): void {
    super.good();
    if (!this.#open) return;
    this.#open = false;
    this.#onClose();
  }
}

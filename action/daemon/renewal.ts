import { Asker, type Applicant, type Kind } from "../session.ts";
import type { DaemonSettings } from "./settings.ts";

/** A token is replaced so long before its end, or at three quarters of a short life. ms */
const AHEAD = 5 * 60_000;
/** A server that gave none is asked again after a while, ms; the whole job long, because it may come back. So is one that refuses what it gave. */
const PAUSE = 15_000;
/** However short their life, tokens are not replaced more often, ms. */
const LEAST = 2_000;
/** For all requests of one renewal, ms; nobody waits for it. */
const PATIENCE = 20_000;

/** When to replace a token. Times in ms. */
export function renewalDelay(expires: number, now: number): number {
  const life = expires - now;
  return Math.max(Math.max(life - AHEAD, life * 0.75), LEAST);
}

/** How a new token is got; tests give their own. */
export type Renew = (server: string, kind: Kind) => Promise<{ readonly token: string; readonly expires: number }>;

/** With the credential the first one was given for: no other may say more or less about the job. */
export function renewing(applicant: Applicant): Renew {
  // Who masks secrets in logs has ended; these never leave the daemon's memory.
  return (server, kind) => new Asker(applicant, () => {}, AbortSignal.timeout(PATIENCE)).session(server, kind);
}

/** Replaces the tokens of a job's servers before they end. */
export class Renewals {
  readonly #servers: DaemonSettings["servers"];
  readonly #renew: Renew;
  readonly #give: (server: number, token: string) => void;
  readonly #plans = new Map<number, { readonly timer: NodeJS.Timeout; readonly due: number }>();
  readonly #asked = new Map<number, number>();

  /** @param give takes a new token, by the number of its server */
  constructor(servers: DaemonSettings["servers"], renew: Renew, give: (server: number, token: string) => void) {
    this.#servers = servers;
    this.#renew = renew;
    this.#give = give;
    for (const [server, { session }] of servers.entries()) if (session) this.#plan(server, renewalDelay(session.expires, Date.now()));
  }

  /** A server has refused its token, whatever the clock here says. */
  refused(server: number): void {
    const due = Math.max((this.#asked.get(server) ?? 0) + PAUSE, Date.now());
    if (due < (this.#plans.get(server)?.due ?? 0)) this.#plan(server, due - Date.now());
  }

  end(): void {
    for (const { timer } of this.#plans.values()) clearTimeout(timer);
    this.#plans.clear();
  }

  #plan(server: number, ms: number): void {
    clearTimeout(this.#plans.get(server)?.timer);
    this.#plans.set(server, { timer: setTimeout(() => void this.#ask(server), ms).unref(), due: Date.now() + ms });
  }

  async #ask(server: number): Promise<void> {
    const { url, session } = this.#servers[server]!;
    this.#asked.set(server, Date.now());
    let next = PAUSE;
    try {
      const { token, expires } = await this.#renew(url, session!.kind);
      this.#give(server, token);
      next = renewalDelay(expires, Date.now());
    } catch (error) {
      console.log(`${new Date().toISOString()} no new token from ${url}: ${(error as Error).message}`);
    }
    if (this.#plans.has(server)) this.#plan(server, next);
  }
}

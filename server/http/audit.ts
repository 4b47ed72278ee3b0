import { LRUCache } from "lru-cache";
import type { Journal } from "../core/journal.ts";
import type { RequestContext } from "./context.ts";

const MINUTE_MS = 60_000;
/** (actor, address) pairs remembered; whoever is forgotten gets a line more. */
const MAX_PAIRS = 10_000;

/**
 * What requests leave in the audit log beside the entries' own lines: that a credential was used from an address (a line an
 * hour), and refusals (a line a minute for each operation). An attacker must not be able to fill the log.
 */
export class RequestAudit {
  readonly #journal: Journal;
  readonly #used = new LRUCache<string, true>({ max: MAX_PAIRS, ttl: 60 * MINUTE_MS });
  readonly #denied = new LRUCache<string, true>({ max: MAX_PAIRS, ttl: MINUTE_MS });

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  use(ctx: RequestContext): void {
    const pair = `${ctx.actor} ${ctx.address}`;
    if (this.#used.has(pair)) return;
    this.#used.set(pair, true);
    this.#write(ctx, "key.use", "ok");
  }

  denied(ctx: RequestContext): void {
    const what = `${ctx.actor} ${ctx.address} ${ctx.protocol} ${ctx.config.op}`;
    if (this.#denied.has(what)) return;
    this.#denied.set(what, true);
    this.#write(ctx, ctx.config.op, "denied");
  }

  #write(ctx: RequestContext, action: string, result: string): void {
    const { actor, cache, address, config } = ctx;
    this.#journal.audit({ at: Date.now(), actor: actor || "unknown", action, cache, keyspace: config.keyspace ?? "", scope: "", key: "", size: 0, result, address });
  }
}

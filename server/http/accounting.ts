import type { IncomingMessage, ServerResponse } from "node:http";
import type { RequestAudit } from "./audit.ts";
import type { Counter, Journal } from "../core/journal.ts";
import type { RequestContext, Result, RouteConfig } from "./context.ts";
import type { Log } from "./log.ts";

/** Counters of one (protocol, operation, result); kept, because looking labels up costs more than counting. */
export interface RequestMeter {
  observe(seconds: number, bytesIn: number, bytesOut: number): void;
}

export interface Meter {
  request(protocol: string, op: string, result: Result, cache: string): RequestMeter;
  /** Where look-ups of a cache with this result are counted; kept. */
  lookups(cache: string, protocol: string, result: Result): { value: number };
  /** Counts a request that was refused. @param key `key:<id>` of an API key, or what it had instead */
  refused(protocol: string, key: string, result: Result): void;
}

/** Upper bounds (ms) of the download times kept for `stats`; the last bucket is open. */
export const DOWNLOAD_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000] as const;

/** Times and bytes of downloads, for their mean and p95. */
class DownloadTimes {
  readonly #ms: Counter;
  readonly #bytes: Counter;
  readonly #buckets: readonly Counter[];

  constructor(counter: (name: string) => Counter) {
    this.#ms = counter("download_ms");
    this.#bytes = counter("download_bytes");
    this.#buckets = [...DOWNLOAD_BUCKETS_MS, "inf"].map((bound) => counter(`download_le_${bound}`));
  }

  observe(ms: number, bytes: number): void {
    this.#ms.value += ms;
    this.#bytes.value += bytes;
    let bucket = 0;
    while (bucket < DOWNLOAD_BUCKETS_MS.length && ms > DOWNLOAD_BUCKETS_MS[bucket]!) bucket++;
    this.#buckets[bucket]!.value++;
  }
}

/** Where one kind of request is counted; looked up once, because looking up costs more than counting. */
export interface Account {
  readonly meter: RequestMeter;
  readonly counters: readonly { value: number }[];
  readonly download: DownloadTimes | undefined;
  /** Whether it is a read, for the audit. */
  readonly audited: boolean;
  /** The part of its access-log lines that is the same for all of them. */
  readonly logged: string;
}

/** What is done with every finished request, whichever way it was answered: metrics, statistics, access log. */
export class Accounting {
  readonly #meter: Meter;
  readonly #journal: Journal;
  readonly #log: Log;
  #accessLog = false;
  #auditReads = false;
  readonly #audit: RequestAudit;
  readonly #accounts = new Map<string, Account>();

  constructor(parts: { meter: Meter; journal: Journal; log: Log; accessLog: boolean; auditReads: boolean; audit: RequestAudit }) {
    this.#meter = parts.meter;
    this.#journal = parts.journal;
    this.#log = parts.log;
    this.#audit = parts.audit;
    this.configure(parts);
  }

  /** Takes other settings from now on; to be called when the log's level has changed, too. */
  configure({ accessLog, auditReads }: { accessLog: boolean; auditReads: boolean }): void {
    this.#accessLog = accessLog && this.#log.enabled("info");
    this.#auditReads = auditReads;
  }

  /** Counts and logs a finished request. @param account of the same kind of request, where the caller has kept it */
  done(ctx: RequestContext, request: IncomingMessage, response: ServerResponse, account: Account = this.account(ctx)): void {
    const ms = performance.now() - ctx.started;
    account.meter.observe(ms / 1000, ctx.bytesIn, ctx.bytesOut);
    for (const counter of account.counters) counter.value++;
    account.download?.observe(ms, ctx.bytesOut);
    if (this.#auditReads && account.audited) {
      this.#journal.audit({ at: Date.now(), actor: ctx.actor, action: "read", cache: ctx.cache, keyspace: ctx.config.keyspace!, scope: "", key: "", size: ctx.bytesOut, result: "ok", address: ctx.address });
    }
    if (ctx.result === "denied") this.#audit.denied(ctx);
    if (ctx.result === "denied" || ctx.result === "refused") this.#meter.refused(ctx.protocol, holderOf(ctx.actor), ctx.result);
    if (this.#accessLog) this.#line(ctx, request, response, ms, account.logged);
  }

  /** What requests of this protocol, operation, result, cache and keyspace count for. */
  account(ctx: RequestContext): Account {
    const { protocol, config, result, cache } = ctx;
    const label = `${protocol} ${config.op} ${result} ${cache}`;
    let account = this.#accounts.get(label);
    if (!account) this.#accounts.set(label, (account = this.#open(protocol, config, result, cache)));
    return account;
  }

  #open(protocol: string, { op, kind = "other", keyspace }: RouteConfig, result: Result, cache: string): Account {
    const meter = this.#meter.request(protocol, op, result, cache);
    const logged = `"protocol":"${protocol}","op":"${op}","result":"${result}","cache":"${cache}"`;
    if (cache === "" || keyspace === undefined) return { meter, counters: [], download: undefined, audited: false, logged };
    const counter = (name: string) => this.#journal.counter(cache, keyspace, name);
    const looksUp = kind === "lookup" || kind === "get";
    const downloads = kind === "download" || kind === "get";
    const counters: { value: number }[] = [];
    if (looksUp && (result === "hit" || result === "miss")) counters.push(counter(result), this.#meter.lookups(cache, protocol, result));
    if (downloads && result === "hit") counters.push(counter("download_ok"));
    if (downloads && (result === "error" || result === "aborted")) counters.push(counter("download_failed"));
    if (kind === "upload" && result !== "denied") counters.push(counter(result === "stored" || result === "exists" ? "upload_ok" : "upload_failed"));
    return { meter, counters, download: downloads && result === "hit" ? new DownloadTimes(counter) : undefined, audited: result === "hit" && kind !== "other", logged };
  }

  #line(ctx: RequestContext, request: IncomingMessage, response: ServerResponse, ms: number, logged: string): void {
    const url = request.url ?? "";
    const query = url.indexOf("?");
    // The query is never logged: it may hold a signature.
    const path = JSON.stringify(query === -1 ? url : url.slice(0, query));
    this.#log.line(
      `{"time":"${timestamp()}","level":"info","msg":"request","method":"${request.method}","path":${path},"status":${response.statusCode},"ms":${ms.toFixed(2)},"in":${ctx.bytesIn},"out":${ctx.bytesOut},${logged},"actor":${JSON.stringify(ctx.actor)},"address":${JSON.stringify(ctx.address)}}`,
    );
  }
}

/** API keys by their id; sessions together, for they are too many. */
function holderOf(actor: string): string {
  if (actor === "") return "unknown";
  return actor.startsWith("session:") ? "session" : actor;
}

let second = 0;
let text = "";

/** The time to the second, formatted once a second. */
function timestamp(): string {
  const now = Date.now();
  if (now - second >= 1000 || now < second) {
    second = now - (now % 1000);
    text = new Date(second).toISOString();
  }
  return text;
}

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Journal } from "../core/journal.ts";
import type { RequestContext, Result } from "./context.ts";
import type { Log } from "./log.ts";

/** Counters of one (protocol, operation, result); kept, because looking labels up costs more than counting. */
export interface RequestMeter {
  observe(seconds: number, bytesIn: number, bytesOut: number): void;
}

export interface Meter {
  request(protocol: string, op: string, result: Result): RequestMeter;
}

/** Upper bounds (ms) of the download times kept for `stats`; the last bucket is open. */
export const DOWNLOAD_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000] as const;

/** What is done with every finished request, whichever way it was answered: metrics, statistics, access log. */
export class Accounting {
  readonly #meter: Meter;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #accessLog: boolean;
  readonly #auditReads: boolean;
  readonly #meters = new Map<string, RequestMeter>();

  constructor(parts: { meter: Meter; journal: Journal; log: Log; accessLog: boolean; auditReads: boolean }) {
    this.#meter = parts.meter;
    this.#journal = parts.journal;
    this.#log = parts.log;
    this.#accessLog = parts.accessLog && parts.log.enabled("info");
    this.#auditReads = parts.auditReads;
  }

  done(ctx: RequestContext, request: IncomingMessage, response: ServerResponse): void {
    const ms = performance.now() - ctx.started;
    const { op } = ctx.config;
    const label = `${ctx.protocol} ${op} ${ctx.result}`;
    let meter = this.#meters.get(label);
    if (!meter) this.#meters.set(label, (meter = this.#meter.request(ctx.protocol, op, ctx.result)));
    meter.observe(ms / 1000, ctx.bytesIn, ctx.bytesOut);
    if (ctx.cache !== "" && ctx.config.keyspace) this.#count(ctx, ctx.config.keyspace, ms);
    if (this.#accessLog) this.#line(ctx, request, response, ms);
  }

  #count(ctx: RequestContext, keyspace: string, ms: number): void {
    const { kind = "other" } = ctx.config;
    const { cache, result } = ctx;
    const count = (name: string, value = 1) => this.#journal.count(cache, keyspace, name, value);
    if (kind === "lookup" || kind === "get") {
      if (result === "hit" || result === "miss") count(result);
    }
    if (kind === "download" || kind === "get") {
      if (result === "hit") {
        count("download_ok");
        count("download_ms", ms);
        count("download_bytes", ctx.bytesOut);
        count(`download_le_${DOWNLOAD_BUCKETS_MS.find((bound) => ms <= bound) ?? "inf"}`);
      } else if (result === "error" || result === "aborted") count("download_failed");
    }
    if (kind === "upload") {
      if (result === "stored" || result === "exists") count("upload_ok");
      else if (result !== "denied") count("upload_failed");
    }
    if (this.#auditReads && result === "hit" && kind !== "other") {
      this.#journal.audit({ at: Date.now(), actor: ctx.actor, action: "read", cache, keyspace, scope: "", key: "", size: ctx.bytesOut, result: "ok", address: ctx.address });
    }
  }

  #line(ctx: RequestContext, request: IncomingMessage, response: ServerResponse, ms: number): void {
    const url = request.url ?? "";
    const query = url.indexOf("?");
    // The query is never logged: it may hold a signature.
    const path = JSON.stringify(query === -1 ? url : url.slice(0, query));
    this.#log.line(
      `{"time":"${timestamp()}","level":"info","msg":"request","method":"${request.method}","path":${path},"status":${response.statusCode},"ms":${ms.toFixed(2)},"in":${ctx.bytesIn},"out":${ctx.bytesOut},"protocol":"${ctx.protocol}","op":"${ctx.config.op}","result":"${ctx.result}","cache":"${ctx.cache}","actor":${JSON.stringify(ctx.actor)},"address":"${ctx.address}"}`,
    );
  }
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

import type { FastifyRequest } from "fastify";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Catalog } from "../core/catalog.ts";
import type { Entry } from "../core/entry.ts";
import type { Grant } from "../core/grant.ts";
import type { Slot } from "../core/recent.ts";
import type { Account, Accounting } from "./accounting.ts";
import { RequestContext, type RouteConfig } from "./context.ts";
import { isLoopback } from "./limits.ts";

/** An answer which can be given again as long as its slot is live, its credential stands and its signature lasts. */
interface Answer {
  readonly entry: Entry;
  readonly slot: Slot;
  readonly headers: string[];
  readonly body: Buffer;
  readonly grant: Grant | undefined;
  readonly actor: string;
  readonly anonymous: boolean;
  readonly cache: string;
  readonly protocol: string;
  readonly config: RouteConfig;
  readonly until: number;
  readonly epoch: number;
  account: Account | undefined;
  /** When the use of its credential was told last, ms. */
  told: number;
}

export interface FrontParts {
  readonly catalog: Catalog;
  readonly accounting: Accounting;
  /** Changes whenever any credential does; then every kept answer is void. */
  readonly epoch: () => number;
  /** Told of the credential (an Authorization header) behind an answer, at most once a second for each answer. */
  readonly used: (header: string) => void;
  /** Whether no client's requests are counted against a limit. */
  readonly unlimited: () => boolean;
  readonly enabled: boolean;
}

/** Answers kept; their bodies are the ones the body memory holds, or a few more. */
const MAX_ANSWERS = 20_000;
const MAX_BYTES = 64 * 1024 * 1024;
const TELL_EVERY = 1_000;

/**
 * The hit-only front: a plain GET whose answer was just given, from RAM, without routing. Everything else, and every doubt,
 * goes the whole way through Fastify, which fills this. Access control is not decided here: an answer is kept under the
 * very credential and URL it was given for, and dropped when an entry of its name, any credential or its time changes.
 */
export class Front {
  readonly #parts: FrontParts;
  readonly #answers = new Map<string, Answer>();
  #bytes = 0;

  constructor(parts: FrontParts) {
    this.#parts = parts;
  }

  /** Keeps an answer the whole way has given. */
  remember(request: FastifyRequest, entry: Entry, slot: Slot, headers: Record<string, string | number>, body: Buffer, options: { until?: number; grant?: Grant | undefined }): void {
    const { stow, raw } = request;
    const anonymous = stow.credential?.kind === "anonymous";
    if (!this.#parts.enabled || !slot.live || raw.method !== "GET" || entry.expires !== null || this.#counted(stow.address, anonymous)) return;
    // What was allowed under an earlier epoch may have been forbidden while the body was fetched.
    const { epoch } = stow;
    if (epoch !== this.#parts.epoch()) return;
    // As the client sent it: by now the router has taken the cache's prefix off `raw.url`.
    const key = keyOf(raw, request.originalUrl);
    this.#drop(key);
    this.#answers.set(key, {
      entry, slot, body, headers: Object.entries(headers).flatMap(([name, value]) => [name, String(value)]), grant: options.grant, actor: stow.actor, anonymous, cache: stow.cache,
      protocol: stow.protocol, config: stow.config, until: Math.min(options.until ?? Infinity, stow.until), epoch,
      account: undefined, told: Date.now(),
    });
    this.#bytes += body.length;
    for (const old of this.#answers.keys()) {
      if (this.#answers.size <= MAX_ANSWERS && this.#bytes <= MAX_BYTES) break;
      this.#drop(old);
    }
  }

  /** True when the request was answered here. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    if (request.method !== "GET" || this.#answers.size === 0) return false;
    const key = keyOf(request, request.url!);
    const answer = this.#answers.get(key);
    if (!answer) return false;
    const { headers } = request;
    if (headers.range !== undefined || headers["x-ms-range"] !== undefined || headers["if-none-match"] !== undefined) return false;
    const now = Date.now();
    if (!answer.slot.live || answer.epoch !== this.#parts.epoch() || answer.until <= now) {
      this.#drop(key);
      return false;
    }
    const address = request.socket.remoteAddress ?? "";
    if (headers["x-forwarded-for"] !== undefined || this.#counted(address, answer.anonymous)) return false;

    const ctx = new RequestContext(address, undefined, response);
    ctx.protocol = answer.protocol;
    ctx.config = answer.config;
    ctx.actor = answer.actor;
    ctx.cache = answer.cache;
    ctx.result = "hit";
    ctx.bytesOut = answer.body.length;
    response.writeHead(200, answer.headers);
    response.end(answer.body);
    this.#parts.catalog.touch(answer.entry, answer.grant);
    if (headers.authorization !== undefined && now - answer.told >= TELL_EVERY) {
      answer.told = now;
      this.#parts.used(headers.authorization);
    }
    this.#parts.accounting.done(ctx, request, response, (answer.account ??= this.#parts.accounting.account(ctx)));
    return true;
  }

  /** Whether a client's requests are counted against its limit, which Fastify's way does (limits.ts). */
  #counted(address: string, anonymous: boolean): boolean {
    return !this.#parts.unlimited() && (anonymous || !isLoopback(address));
  }

  #drop(key: string): void {
    const answer = this.#answers.get(key);
    if (!answer) return;
    this.#answers.delete(key);
    this.#bytes -= answer.body.length;
  }
}

function keyOf({ headers }: IncomingMessage, url: string): string {
  return `${headers.authorization ?? ""}\n${headers.host ?? ""}\n${url}`;
}

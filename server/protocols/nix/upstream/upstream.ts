import { stat, readFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { guardedLookup, NOWHERE, type Reach } from "./address.ts";
import { Breaker, type Attempt, type BreakerOptions } from "./breaker.ts";
import { exchange, type Answer, type Timeouts } from "./exchange.ts";
import { UpstreamFailure } from "./failure.ts";
import { netrcEntry } from "./netrc.ts";
import { resolveNarUrl } from "../nar-url.ts";
import { WireError } from "../../wire.ts";
import type { UpstreamSettings } from "./settings.ts";

/** Redirects of one request that are followed. */
const MOST_REDIRECTS = 3;
/** Connections of one upstream at once, for narinfos and for NARs. */
const MOST_SOCKETS = 64;
const MOST_URL = 4096;

export interface Ask {
  readonly method?: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** NARs have connections of their own: they keep them long. */
  readonly long?: boolean;
}

/** A good answer (200, 206), whose reader says how it ended. */
export interface Asked {
  readonly answer: Answer;
  readonly attempt: Attempt;
}

/** One upstream: where it is, what it wants to see, and whether it is worth asking. */
export class Upstream {
  readonly name: string;
  readonly settings: UpstreamSettings;
  readonly breaker: Breaker;
  readonly #base: URL;
  readonly #hosts: ReadonlySet<string>;
  readonly #timeouts: Timeouts;
  readonly #agents: Record<"short" | "long", { http: http.Agent; https: https.Agent }>;
  #netrc: { mtime: number; header: string | undefined } | undefined;

  constructor(name: string, settings: UpstreamSettings, breaker: BreakerOptions) {
    this.name = name;
    this.settings = settings;
    this.breaker = new Breaker(breaker);
    this.#base = new URL(settings.url.endsWith("/") ? settings.url : `${settings.url}/`);
    this.#hosts = new Set(settings.hosts.map((host) => host.toLowerCase()));
    this.#timeouts = { connect: settings.connectTimeout, firstByte: settings.firstByteTimeout, stall: settings.stallTimeout };
    const agents = () => {
      const options = { keepAlive: true, maxSockets: MOST_SOCKETS, maxFreeSockets: 16, scheduling: "lifo" as const };
      return { http: new http.Agent(options), https: new https.Agent(options) };
    };
    this.#agents = { short: agents(), long: agents() };
  }

  /**
   * Where a NAR of this upstream lies: its URL as a narinfo says it.
   * @throws UpstreamFailure for one that leads to a host which is not its own and not listed, or off https
   */
  resolve(url: string): URL {
    try {
      return resolveNarUrl(this.#base.href, url, [...this.#hosts]);
    } catch (error) {
      throw error instanceof WireError ? new UpstreamFailure("refused", error.message) : error;
    }
  }

  /** @param path of something that has its place in every binary cache, like `<hash>.narinfo` */
  at(path: string): URL {
    return new URL(path, this.#base);
  }

  /**
   * Asks for something. Undefined: it has none, for certain (404, 410).
   * @param url from `resolve`
   * @throws UpstreamFailure when it said neither; the signal's reason
   */
  async ask(url: URL, ask: Ask): Promise<Asked | undefined> {
    const attempt = this.breaker.enter();
    if (!attempt) throw new UpstreamFailure("open", `left alone for ${this.breaker.retryAfter} s after failures`);
    try {
      const answer = await this.#follow(url, ask);
      const { status } = answer;
      if (status === 200 || status === 206) return { answer, attempt };
      answer.discard();
      if (status === 404 || status === 410 || (status === 403 && this.settings.forbiddenIsMissing)) {
        attempt.succeeded();
        return undefined;
      }
      throw new UpstreamFailure("status", `it answered ${status}`, { status });
    } catch (error) {
      if (error instanceof UpstreamFailure) attempt.failed();
      else attempt.left();
      throw error;
    }
  }

  close(): void {
    for (const agents of Object.values(this.#agents)) {
      agents.http.destroy();
      agents.https.destroy();
    }
  }

  async #follow(first: URL, ask: Ask): Promise<Answer> {
    let url = first;
    let reach: Reach = 0;
    for (let hop = 0; ; hop++) {
      const answer = await this.#send(url, ask, reach);
      const { location } = answer.headers;
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
      answer.discard();
      if (hop === MOST_REDIRECTS) throw new UpstreamFailure("refused", `more than ${MOST_REDIRECTS} redirects`);
      // A redirect may lead to where the configured upstream itself is, and not nearer to us.
      if (hop === 0 && answer.reach !== NOWHERE) reach = answer.reach;
      if (location.length > MOST_URL || !URL.canParse(location, url.href)) throw new UpstreamFailure("invalid", "it redirects to what is no URL");
      const next = new URL(location, url);
      this.#check(next, url);
      url = next;
    }
  }

  /** One request, on a new connection when a kept one turns out to be closed. */
  async #send(url: URL, ask: Ask, reach: Reach): Promise<Answer> {
    const own = this.#own(url);
    const free = own || this.#listed(url);
    const authorization = own ? await this.#authorization() : undefined;
    const options = {
      method: ask.method ?? "GET",
      headers: { "user-agent": "stowhouse", accept: "*/*", "accept-encoding": "identity", ...ask.headers, ...(authorization !== undefined && { authorization }) },
      timeouts: this.#timeouts,
      signal: ask.signal,
      reach: free ? NOWHERE : reach,
      lookup: free ? undefined : guardedLookup(() => reach),
    };
    const agent = this.#agents[ask.long ? "long" : "short"][url.protocol === "https:" ? "https" : "http"];
    try {
      return await exchange(url, { ...options, agent });
    } catch (error) {
      if (!(error instanceof UpstreamFailure) || error.kind !== "broken") throw error;
      return exchange(url, { ...options, agent: false });
    }
  }

  #check(url: URL, from: URL): void {
    if (url.protocol !== "https:" && url.protocol !== "http:") throw new UpstreamFailure("refused", `${url.protocol} is not HTTP`);
    if (from.protocol === "https:" && url.protocol === "http:") throw new UpstreamFailure("refused", "it leads from https to http");
    if (url.username !== "" || url.password !== "") throw new UpstreamFailure("refused", "the URL carries credentials");
  }

  #own(url: URL): boolean {
    return url.origin === this.#base.origin;
  }

  #listed(url: URL): boolean {
    return this.#hosts.has(url.host);
  }

  async #authorization(): Promise<string | undefined> {
    const { token, username, password, netrc } = this.settings.credentials;
    if (token !== undefined) return `Bearer ${token}`;
    if (password !== undefined) return basic(username ?? "", password);
    if (netrc === undefined) return undefined;
    try {
      const mtime = (await stat(netrc)).mtimeMs;
      if (this.#netrc?.mtime !== mtime) {
        const entry = netrcEntry(await readFile(netrc, "utf8"), this.#base.hostname.replace(/^\[|\]$/g, ""));
        this.#netrc = { mtime, header: entry && basic(entry.login, entry.password) };
      }
      return this.#netrc.header;
    } catch (error) {
      throw new UpstreamFailure("refused", "its netrc file can't be read", { cause: error });
    }
  }
}

function basic(login: string, password: string): string {
  return `Basic ${Buffer.from(`${login}:${password}`).toString("base64")}`;
}

import { LRUCache } from "lru-cache";
import { errors } from "../../../core/errors.ts";
import { parsePublicKey, type PublicKey } from "../keys.ts";
import { fingerprint, MAX_NARINFO, parseNarInfo, type NarInfo } from "../narinfo.ts";
import { parseBaseName } from "../store-path.ts";
import { WireError } from "../../wire.ts";
import { UpstreamFailure } from "./failure.ts";
import { globs } from "./glob.ts";
import { hedged } from "./hedge.ts";
import type { AskResult, UpstreamMetrics } from "./metrics.ts";
import type { Upstream } from "./upstream.ts";

/** Misses remembered of all upstreams of a cache. */
const MOST_MISSES = 200_000;

export interface Found {
  readonly upstream: Upstream;
  /** With the upstream's own URL. */
  readonly info: NarInfo;
}

export interface NarinfosOptions {
  readonly cache: string;
  readonly storeDir: string;
  /** In the order in which they are asked. */
  readonly upstreams: readonly Upstream[];
  /** ms */
  readonly hedge: number;
  /** How long a miss is remembered, ms. */
  readonly missing: number;
  readonly metrics: UpstreamMetrics;
}

interface Judge {
  readonly keys: readonly PublicKey[];
  readonly wanted: (name: string) => boolean;
}

/** Asks the upstreams of a cache for narinfos, and believes only what one of the upstream's trusted keys has signed. */
export class Narinfos {
  readonly #options: NarinfosOptions;
  readonly #judges = new Map<Upstream, Judge>();
  readonly #misses: LRUCache<string, true>;

  /** @throws config for a key that is none */
  constructor(options: NarinfosOptions) {
    this.#options = options;
    this.#misses = new LRUCache({ max: MOST_MISSES, ttl: Math.max(options.missing, 1) });
    for (const upstream of options.upstreams) this.#judges.set(upstream, judgeOf(options.cache, upstream));
  }

  /**
   * The narinfo of a store path from the first upstream that has it. Undefined: none has, for certain.
   * @param hash the 32 digits of the path
   * @throws upstreamUnavailable when an upstream that may have it could not say
   */
  async find(hash: string): Promise<Found | undefined> {
    const { hedge, upstreams } = this.#options;
    const asked = upstreams.filter((upstream) => !this.#misses.has(`${upstream.name} ${hash}`));
    const { found, failures } = await hedged(asked, hedge, async (upstream, signal): Promise<Found | undefined> => {
      const info = await this.ask(upstream, hash, signal);
      return info && { upstream, info };
    });
    if (!found && failures.length > 0) throw unavailable(failures, upstreams);
    return found;
  }

  /** What one upstream says now. Undefined: it has none, for certain. @throws UpstreamFailure; the signal's reason */
  async ask(upstream: Upstream, hash: string, signal: AbortSignal): Promise<NarInfo | undefined> {
    const { metrics, cache } = this.#options;
    const started = performance.now();
    const count = (result: AskResult) => metrics.asked(cache, upstream.name, "narinfo", result, result === "skipped" ? undefined : performance.now() - started);
    try {
      const text = await this.#read(upstream, hash, signal);
      const info = text === undefined ? undefined : this.#parse(text, hash);
      const verdict = info ? this.#judge(upstream, info) : "miss";
      count(verdict);
      if (verdict === "hit") return info;
      this.#misses.set(`${upstream.name} ${hash}`, true);
      return undefined;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(error.kind === "open" ? "skipped" : error.kind === "timeout" ? "timeout" : "error");
      throw error;
    } finally {
      metrics.open(cache, upstream.name, upstream.breaker.open);
    }
  }

  async #read(upstream: Upstream, hash: string, signal: AbortSignal): Promise<string | undefined> {
    const asked = await upstream.ask(upstream.at(`${hash}.narinfo`), { signal });
    if (!asked) return undefined;
    const { answer, attempt } = asked;
    try {
      const text = (await answer.whole(MAX_NARINFO)).toString();
      // A page that says 200 of whatever was asked (a captive portal, an index) is a failure of the upstream, too.
      if (!text.includes("StorePath:")) throw new UpstreamFailure("invalid", "its answer is no narinfo");
      attempt.succeeded();
      return text;
    } catch (error) {
      if (signal.aborted) attempt.left();
      else attempt.failed();
      throw error;
    }
  }

  #parse(text: string, hash: string): NarInfo {
    try {
      const info = parseNarInfo(text, this.#options.storeDir);
      if (parseBaseName(info.storePath)?.hash !== hash) throw new WireError("it is of another path");
      // An uncompressed file is the NAR itself, so servers leave the rest out.
      return info.compression === "none" && info.fileHash === undefined ? { ...info, fileHash: info.narHash, fileSize: info.narSize } : info;
    } catch (error) {
      throw error instanceof WireError ? new UpstreamFailure("invalid", `its narinfo is not valid: ${error.message}`) : error;
    }
  }

  /** Whether paths of this name are taken from an upstream. @param name without its hash */
  wants(upstream: Upstream, name: string): boolean {
    return this.#judges.get(upstream)!.wanted(name);
  }

  /** Whether one of an upstream's trusted keys has signed a text. */
  vouches(upstream: Upstream, text: string, signatures: readonly string[]): boolean {
    const { keys } = this.#judges.get(upstream)!;
    return signatures.some((signature) => keys.some((key) => key.verifies(text, signature)));
  }

  #judge(upstream: Upstream, info: NarInfo): AskResult {
    if (!this.wants(upstream, parseBaseName(info.storePath)!.name)) return "denied";
    return this.vouches(upstream, fingerprint(info, this.#options.storeDir), info.signatures) ? "hit" : "untrusted";
  }
}

/** What a client gets when it can't be said for certain that nobody has a path. */
export function unavailable(failures: readonly unknown[], upstreams: readonly Upstream[]) {
  const open = upstreams.filter(({ breaker }) => breaker.open).map(({ breaker }) => breaker.retryAfter);
  return errors.upstreamUnavailable(`${failures.length} of ${upstreams.length} did not say`, { cause: failures[0], retryAfter: open.length > 0 ? Math.min(...open) : 5 });
}

function judgeOf(cache: string, { name, settings }: Upstream): Judge {
  const [allowed, denied] = [globs(settings.allow), globs(settings.deny)];
  try {
    return { keys: settings.trustedKeys.map(parsePublicKey), wanted: (path) => (settings.allow.length === 0 || allowed(path)) && !denied(path) };
  } catch (error) {
    throw errors.config(`protocols.nix.caches.${cache}.upstreams.${name}.trustedKeys: ${(error as Error).message}`);
  }
}

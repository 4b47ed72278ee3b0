import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { LRUCache } from "lru-cache";
import type { Core } from "../../../core/core.ts";
import type { Entry, Keyspace } from "../../../core/entry.ts";
import { Places } from "../../../http/limits.ts";
import type { Asked, Upstream } from "./upstream.ts";
import { UpstreamFailure } from "./failure.ts";
import { hedged } from "./hedge.ts";
import { unavailable } from "./narinfos.ts";
import type { AskResult, UpstreamMetrics } from "./metrics.ts";
import type { Pulled } from "./pulled.ts";
import { decoded } from "./receive.ts";

const MOST_MISSES = 50_000;
/** Read into RAM at once, of all caches; others wait. */
const places = new Places(4, 30_000);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const unpack = promisify(zstdDecompress);

/** A small thing that upstreams may have. */
export interface Wanted {
  readonly keyspace: Keyspace;
  readonly key: string;
  /** Below the upstream's own URL. */
  readonly path: string;
  /** Bytes, decoded; a larger one counts as none. */
  readonly limit: number;
  /** What is kept of it, with metadata. Undefined: it is not to be believed. @throws UpstreamFailure for what is none */
  readonly judge: (upstream: Upstream, body: Buffer) => Promise<Judged | undefined> | Judged | undefined;
}

export interface Judged {
  readonly body: Buffer;
  readonly metadata: object;
}

/** As it is kept; without an entry when the cache had no room for it. */
export interface ServedDocument {
  readonly body: Buffer | undefined;
  readonly entry: Entry | undefined;
}

export interface DocumentsParts {
  readonly core: Core;
  readonly cache: string;
  readonly upstreams: readonly Upstream[];
  readonly pulled: Pulled;
  /** ms */
  readonly hedge: number;
  readonly missing: number;
  readonly metrics: UpstreamMetrics;
}

/** What upstreams have beside narinfos and NARs: read whole, judged, and kept as narinfos are. */
export class Documents {
  readonly #parts: DocumentsParts;
  readonly #misses: LRUCache<string, true>;
  readonly #finding = new Map<string, Promise<ServedDocument | undefined>>();

  constructor(parts: DocumentsParts) {
    this.#parts = parts;
    this.#misses = new LRUCache({ max: MOST_MISSES, ttl: Math.max(parts.missing, 1) });
  }

  /**
   * Undefined: no upstream has it, for certain.
   * @param trusted whether a trusted scope asks @throws upstreamUnavailable, readFailure
   */
  async get(wanted: Wanted, trusted: boolean): Promise<ServedDocument | undefined> {
    const { core, pulled, upstreams } = this.#parts;
    const { entry } = await core.catalog.get(pulled.reader, wanted.keyspace, wanted.key);
    const from = entry && (JSON.parse(entry.metadata!) as { upstream: string }).upstream;
    // What an upstream said that isn't one any more is believed no longer.
    if (entry && upstreams.some(({ name }) => name === from)) return { body: undefined, entry };
    let finding = this.#finding.get(wanted.path);
    if (!finding) {
      finding = this.#find(wanted, trusted).finally(() => this.#finding.delete(wanted.path));
      this.#finding.set(wanted.path, finding);
    }
    return finding;
  }

  async #find(wanted: Wanted, trusted: boolean): Promise<ServedDocument | undefined> {
    const { upstreams, hedge, pulled } = this.#parts;
    const asked = upstreams.filter(({ name }) => !this.#misses.has(`${name} ${wanted.path}`));
    const { found, failures } = await hedged(asked, hedge, async (upstream, signal) => {
      const judged = await this.#ask(upstream, wanted, signal);
      if (!judged) this.#misses.set(`${upstream.name} ${wanted.path}`, true);
      return judged && { ...judged, metadata: { ...judged.metadata, upstream: upstream.name } };
    });
    if (!found && failures.length > 0) throw unavailable(failures, upstreams);
    if (!found) return undefined;
    const entry = await pulled.keep(wanted.keyspace, wanted.key, found.body, found.metadata, trusted);
    return { body: found.body, entry };
  }

  async #ask(upstream: Upstream, wanted: Wanted, signal: AbortSignal): Promise<Judged | undefined> {
    const { metrics, cache } = this.#parts;
    const started = performance.now();
    const count = (result: AskResult) => metrics.asked(cache, upstream.name, "file", result, result === "skipped" ? undefined : performance.now() - started);
    try {
      const asked = await upstream.ask(upstream.at(wanted.path), { signal });
      const body = asked && (await whole(asked, wanted.limit, signal));
      const judged = body && (await wanted.judge(upstream, body));
      count(judged ? "hit" : body ? "untrusted" : "miss");
      return judged;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(error.kind === "open" ? "skipped" : error.kind === "timeout" ? "timeout" : "error");
      throw error;
    } finally {
      metrics.open(cache, upstream.name, upstream.breaker.open);
    }
  }
}

/** The decoded body; undefined for one that is too long to be taken. @throws UpstreamFailure */
async function whole({ answer, attempt }: Asked, limit: number, signal: AbortSignal): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  const leave = await places.take().catch((error: unknown) => {
    answer.discard();
    attempt.left();
    throw error;
  });
  try {
    for await (const chunk of decoded(answer, answer.headers["content-encoding"])) {
      chunks.push(chunk);
      if ((length += chunk.length) > limit) break;
    }
    attempt.succeeded();
  } catch (error) {
    answer.discard();
    if (signal.aborted) attempt.left();
    else attempt.failed();
    throw error;
  } finally {
    leave();
  }
  if (length > limit) return undefined;
  const body = Buffer.concat(chunks);
  // Some caches say nothing of how they have packed it.
  return body.subarray(0, 4).equals(ZSTD) ? unpacked(body, limit) : body;
}

async function unpacked(body: Buffer, limit: number): Promise<Buffer | undefined> {
  try {
    return await unpack(body, { maxOutputLength: limit });
  } catch (error) {
    if ((error as { code?: string }).code === "ERR_BUFFER_TOO_LARGE") return undefined;
    throw new UpstreamFailure("invalid", "its answer is not what it is packed as", { cause: error });
  }
}

import { sha256 } from "../fixtures/random.ts";

/** One write of a key, as its client saw it; times from performance.now(). */
export interface Attempt {
  readonly protocol: "gha" | "nip";
  readonly key: string;
  /** Counts the writes of a key; nip's metadata holds it. */
  readonly version: number;
  readonly digest: string;
  readonly size: number;
  readonly begun: number;
  /** When the server said that it is stored. Undefined: it never did, so both outcomes are right. */
  acknowledged: number | undefined;
  /** Of an upload in parts: its blocks are listed, only the last call is missing. */
  listed: boolean;
}

/** What a reader got. */
export type Seen = { readonly version?: number; readonly bytes: Uint8Array } | "miss";

/**
 * What clients were told, and so what the server must keep: an acknowledged write or one that came later, with exactly its
 * bytes. Rows are linearizable registers: a read must not return what an acknowledged later write has replaced.
 */
export class Ledger {
  readonly #attempts = new Map<string, Attempt[]>();

  begin(protocol: Attempt["protocol"], key: string, body: Uint8Array): Attempt {
    const attempts = this.of(protocol, key);
    const attempt: Attempt = {
      protocol, key, version: attempts.length + 1, digest: sha256(body), size: body.length, begun: performance.now(), acknowledged: undefined, listed: false,
    };
    attempts.push(attempt);
    return attempt;
  }

  acknowledge(attempt: Attempt): void {
    attempt.acknowledged ??= performance.now();
  }

  of(protocol: Attempt["protocol"], key: string): Attempt[] {
    const name = `${protocol} ${key}`;
    let attempts = this.#attempts.get(name);
    if (!attempts) this.#attempts.set(name, (attempts = []));
    return attempts;
  }

  /** All keys with a write since a time. */
  keys(protocol: Attempt["protocol"], since = 0): string[] {
    return [...this.#attempts.values()].filter((list) => list[0]?.protocol === protocol && list.at(-1)!.begun >= since).map((list) => list[0]!.key);
  }

  count(): { attempts: number; acknowledged: number } {
    const all = [...this.#attempts.values()].flat();
    return { attempts: all.length, acknowledged: all.filter((attempt) => attempt.acknowledged !== undefined).length };
  }

  /**
   * Undefined when this is a right answer for a read begun at `asked`, else what is wrong with it.
   * An unacknowledged write that was seen counts as acknowledged from then on: it must not vanish again.
   */
  judge(protocol: Attempt["protocol"], key: string, seen: Seen, asked: number): string | undefined {
    const attempts = this.of(protocol, key);
    const settled = attempts.filter((attempt) => attempt.acknowledged !== undefined && attempt.acknowledged < asked);
    if (seen === "miss") {
      if (settled.length === 0) return undefined;
      return `LOST ${protocol} ${key}: a miss, although version ${settled.at(-1)!.version} (${settled.at(-1)!.size} bytes) was acknowledged`;
    }
    const digest = sha256(seen.bytes);
    const served = attempts.find((attempt) => attempt.digest === digest);
    if (!served) return `WRONG ${protocol} ${key}: ${seen.bytes.length} bytes (${digest}) that nobody wrote there`;
    if (seen.version !== undefined && seen.version !== served.version) return `MIXED ${protocol} ${key}: the bytes of version ${served.version} with the metadata of version ${seen.version}`;
    const newer = settled.find((attempt) => served.acknowledged !== undefined && attempt.begun > served.acknowledged);
    if (newer) return `STALE ${protocol} ${key}: version ${served.version}, although the later version ${newer.version} was acknowledged`;
    this.acknowledge(served);
    return undefined;
  }
}

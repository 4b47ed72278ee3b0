import { setTimeout } from "node:timers/promises";
import type { Behind, Attempt } from "./behind.ts";
import type { Incoming } from "./incoming.ts";
import type { Call, Outcome } from "./relay.ts";
import type { Spool, Spooled } from "./spool.ts";
import type { ProtocolMetrics } from "./settings.ts";
import type { Upstream } from "./upstream.ts";

/** How long a tool's reading waits for what the same job has just stored, ms. */
const READ_WAIT = 2_000;

/** What the two kinds of deferral share. */
export interface Deferring {
  readonly spool: Spool;
  readonly behind: Behind;
  readonly upstreams: readonly Upstream[];
}

/** Takes requests over instead of relaying them. Undefined: relay it, as the call it returns if it returns one. */
export interface Deferral {
  handle(call: Call, body: Incoming): Promise<Outcome | Call | undefined>;
}

/** One request that is sent when there is time. */
export interface Parcel {
  readonly method: string;
  /** Path and query below the server's URL, or a URL on it. */
  readonly target: string | URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Spooled | Buffer;
}

/** Sends a parcel. @param accepts looks at the answer of a status below 300 */
export async function send(upstream: Upstream, parcel: Parcel, row: ProtocolMetrics, signal: AbortSignal, accepts: (body: Buffer) => boolean = () => true): Promise<Attempt> {
  if (!upstream.breaker.open) {
    const { method, target, headers, body } = parcel;
    const [size, chunks] = Buffer.isBuffer(body) ? [body.length, one(body)] : [body.size, body.read()];
    const answer = await upstream.background(target, { method, headers, upload: { size, chunks }, signal });
    const text = Buffer.from(await answer.text(64 * 1024));
    if (answer.status < 300) {
      row.bytesOut += size;
      return accepts(text) ? "done" : "refused";
    }
    // An expired token may be renewed before the job ends.
    if (answer.status === 401) return "away";
    return answer.status >= 500 || answer.status === 429 ? "again" : "refused";
  }
  return "away";
}

async function* one(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

/** Writes a request's body down. Undefined when there is no room for it. @throws when it can't be read, or not be written */
export async function take(spool: Spool, body: Incoming): Promise<Spooled | undefined> {
  const size = body.kind === "none" ? 0 : body.kind === "kept" ? body.bytes.length : body.size;
  if (!spool.hasRoom(size)) return undefined;
  return spool.take(body.kind === "none" ? [] : body.kind === "kept" ? [body.bytes] : body.chunks, size);
}

/** Waits until something is delivered, but not for long: the tool waits as well. */
export async function briefly(delivery: Promise<unknown>): Promise<void> {
  await Promise.race([delivery, setTimeout(READ_WAIT, undefined, { ref: false })]);
}

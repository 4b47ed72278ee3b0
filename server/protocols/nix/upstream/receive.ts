import { pipeline, Readable, type Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { Answer } from "./exchange.ts";
import { UpstreamFailure } from "./failure.ts";
import type { Transfer } from "./transfer.ts";
import type { Upstream } from "./upstream.ts";

/** Tries at one upstream in which nothing comes, and tries in all. */
const MOST_FRUITLESS = 2;
const MOST_TRIES = 20;

/** Where a NAR may be taken from. */
export interface Place {
  readonly upstream: Upstream;
  /** As its narinfo says it. */
  readonly url: string;
}

export interface ReceiveHooks {
  /** The upstream has begun to answer. */
  onHead(): void;
  onBytes(bytes: number): void;
}

/**
 * Brings a transfer to its end from one place, going on where it broke off. False: there is none, for certain.
 * @throws UpstreamFailure (another place may go on), Spoiled (what came is worthless), and what Transfer.append throws
 */
export async function receive(place: Place, transfer: Transfer, signal: AbortSignal, hooks: ReceiveHooks): Promise<boolean> {
  const { upstream } = place;
  const url = upstream.resolve(place.url);
  let validator: string | undefined;
  for (let tries = 1, fruitless = 0; ; tries++) {
    const before = transfer.received;
    try {
      const headers = before === 0 ? {} : { range: `bytes=${before}-`, ...(validator !== undefined && { "if-range": validator }) };
      const asked = await upstream.ask(url, { signal, headers, long: true });
      if (!asked) return false;
      validator = validatorOf(asked.answer);
      try {
        await take(asked.answer, transfer, { ...hooks, onBytes: (bytes) => (asked.attempt.succeeded(), hooks.onBytes(bytes)) });
        asked.attempt.succeeded();
      } catch (error) {
        asked.answer.discard();
        if (error instanceof UpstreamFailure && !signal.aborted) asked.attempt.failed();
        else asked.attempt.left();
        throw error;
      }
      await transfer.complete();
      return true;
    } catch (error) {
      if (!(error instanceof UpstreamFailure) || (error.kind !== "broken" && error.kind !== "timeout") || signal.aborted) throw error;
      fruitless = transfer.received > before ? 0 : fruitless + 1;
      if (transfer.received === 0 || fruitless === MOST_FRUITLESS || tries === MOST_TRIES) throw error;
    }
  }
}

async function take(answer: Answer, transfer: Transfer, hooks: ReceiveHooks): Promise<void> {
  const encoding = answer.headers["content-encoding"];
  // What is there already comes again where the upstream knows no ranges.
  let skip = answer.status === 206 ? 0 : transfer.received;
  if (answer.status === 206) transfer.announce(restOf(answer, transfer));
  else if (encoding === undefined && answer.headers["content-length"] !== undefined) transfer.announce(Number(answer.headers["content-length"]));
  hooks.onHead();
  for await (const chunk of decoded(answer, encoding)) {
    hooks.onBytes(chunk.length);
    const known = Math.min(skip, chunk.length);
    skip -= known;
    if (known < chunk.length) await transfer.append(known === 0 ? chunk : chunk.subarray(known));
  }
  if (transfer.size !== undefined && transfer.received < transfer.size) throw new UpstreamFailure("broken", `it ended after ${transfer.received} of ${transfer.size} bytes`);
}

/** The whole size by a partial answer, which must go on exactly where we are. */
function restOf({ headers }: Answer, transfer: Transfer): number {
  const [, start, end, size] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers["content-range"] ?? "") ?? [];
  if (Number(start) !== transfer.received || Number(end) + 1 !== Number(size) || headers["content-encoding"] !== undefined) throw new UpstreamFailure("invalid", "it answered with another range");
  return Number(size);
}

/** What tells a later version from this one: a strong ETag, else the date. */
function validatorOf({ headers }: Answer): string | undefined {
  return headers.etag?.startsWith('"') ? headers.etag : headers["last-modified"];
}

/** An answer's body without its Content-Encoding. @throws UpstreamFailure while it is read */
export function decoded(answer: Answer, encoding: string | undefined): AsyncIterable<Buffer> {
  if (encoding === undefined || encoding === "identity") return answer.body;
  const decoder = decoderOf(encoding);
  return failing(pipeline(Readable.from(answer.body, { objectMode: false }), decoder, () => {}));
}

async function* failing(stream: Transform): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw error instanceof UpstreamFailure ? error : new UpstreamFailure("invalid", "its Content-Encoding is broken", { cause: error });
  }
}

function decoderOf(encoding: string): Transform {
  switch (encoding.toLowerCase()) {
    case "gzip":
    case "x-gzip":
      return createGunzip();
    case "deflate":
      return createInflate();
    case "br":
      return createBrotliDecompress();
    case "zstd":
      return createZstdDecompress();
    default:
      throw new UpstreamFailure("invalid", `it sends Content-Encoding ${encoding}`);
  }
}

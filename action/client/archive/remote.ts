import { setTimeout as sleep } from "node:timers/promises";
import { blobsPath, bodyPath, commitPath, FIND, havePath, parseHave, recordHead, RESERVE, uploadPath, type FindRequest, type Found, type FrameChunk, type KnownChunk } from "../../../server/protocols/archive/wire.ts";
import { exchange, type Answer, type ExchangeOptions } from "../exchange.ts";
import { ExchangeError, type Patience } from "../patience.ts";
import { release } from "./frames.ts";

/** A Stowhouse server or the daemon. */
export interface Connection {
  readonly url: string;
  readonly token: string | undefined;
  /** Which cache is meant, if not the credential's own. */
  readonly cache?: string;
}

/** An answer that was none of those asked for. */
export class RemoteError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A build must not wait for a server that is not well: 5 s in all. */
const LOOKUP: Patience = { connect: 2_000, answer: 2_500, stall: 2_500 };
const TRANSFER: Patience = { connect: 2_000, answer: 4_000, stall: 4_000 };
const MESSAGE_LIMIT = 1024 * 1024;
const ATTEMPTS = 3;

/** A blob on its way to the server; a column has no chunks. */
export interface Blob {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly chunks: readonly FrameChunk[];
}

/** The archive protocol as its client sees it (server/protocols/archive/README.md). */
export class Remote {
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #signal: AbortSignal;
  /** Bytes of all bodies sent, and of archives received. */
  sent = 0;
  received = 0;

  constructor({ url, token, cache }: Connection, signal: AbortSignal) {
    this.#base = url.replace(/\/+$/, "") + (cache === undefined ? "" : `/c/${cache}`);
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    this.#signal = signal;
  }

  /** Undefined for a miss. @throws RemoteError, ExchangeError */
  async find({ key, restoreKeys, version }: FindRequest): Promise<Found | undefined> {
    const answer = await this.#json<Found & { hit: boolean; error?: string }>(FIND, [encode({ key, restore_keys: restoreKeys, version })], LOOKUP);
    if (answer.error !== undefined) throw new RemoteError(503, answer.error);
    return answer.hit ? answer : undefined;
  }

  /** @param digest of an archive that is wanted under this name */
  reserve(key: string, version: string, digest?: string): Promise<{ upload?: string; committed?: boolean; size?: number }> {
    return this.#json(RESERVE, [encode({ key, version, digest })], LOOKUP);
  }

  async have(upload: string, ids: readonly Buffer[]): Promise<(KnownChunk | undefined)[]> {
    const answer = await this.#post(havePath(upload), ids, TRANSFER);
    return parseHave(await collect(answer, Number(answer.headers["content-length"] ?? 0)), ids.length);
  }

  async put(upload: string, blobs: readonly Blob[]): Promise<void> {
    await this.#json(blobsPath(upload), blobs.flatMap(({ digest, bytes, chunks }) => [recordHead(digest, bytes.length, chunks), bytes]), TRANSFER);
  }

  /** What the server lacks; undefined once it has committed. */
  async commit(upload: string, manifest: Buffer): Promise<readonly string[] | undefined> {
    return (await this.#json<{ missing?: readonly string[] }>(commitPath(upload), [manifest], TRANSFER, 64 * MESSAGE_LIMIT)).missing;
  }

  /** Gives a reservation up, so that the key is free at once; it would be after a while anyway. Never throws. */
  async abandon(upload: string): Promise<void> {
    const attempt = this.#exchange(uploadPath(upload), { method: "DELETE", headers: this.#headers, patience: LOOKUP });
    await attempt.then((answer) => answer.discard(), () => {});
  }

  /**
   * Bytes [start, end) of an archive's body as they arrive. When the connection breaks, it goes on where it was.
   * @param take gets where the bytes are in the body, and may use them until what it returns has settled; so long the connection waits
   */
  async read(entry: number, start: number, end: number, take: (at: number, bytes: Buffer) => Promise<unknown> | undefined): Promise<void> {
    let at = start;
    await this.#patiently(async () => {
      if (at === end) return;
      const headers = { ...this.#headers, range: `bytes=${at}-${end - 1}` };
      const answer = await this.#exchange(bodyPath(entry), { method: "GET", headers, patience: TRANSFER });
      if (answer.status !== 206) throw await refusal(answer);
      for await (const bytes of answer.body) {
        this.received += bytes.length;
        if (bytes.length > end - at) throw new RemoteError(502, "the answer is longer than it should be");
        at += bytes.length;
        const wait = take(at - bytes.length, bytes);
        if (wait) await wait;
        // All of its memory: nobody else has a part of it.
        if (bytes.length === bytes.buffer.byteLength) release(bytes as Buffer<ArrayBuffer>);
      }
      if (at < end) throw new RemoteError(502, "the answer is shorter than it should be");
    });
  }

  async #json<T>(path: string, body: readonly Uint8Array[], patience: Patience, limit = MESSAGE_LIMIT): Promise<T> {
    const text = await (await this.#post(path, body, patience)).text(limit);
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new RemoteError(502, "the answer is not JSON");
    }
  }

  #post(path: string, body: readonly Uint8Array[], patience: Patience): Promise<Answer> {
    const size = body.reduce((sum, { length }) => sum + length, 0);
    const attempt = async () => {
      // A list, because the connection may need it twice.
      const answer = await this.#exchange(path, { method: "POST", headers: { ...this.#headers, "content-type": "application/octet-stream" }, upload: { size, chunks: iterate(body), ask: false }, patience });
      this.sent += size;
      if (answer.status !== 200 && answer.status !== 201) throw await refusal(answer);
      return answer;
    };
    return this.#patiently(attempt, patience === LOOKUP);
  }

  #exchange(path: string, options: ExchangeOptions): Promise<Answer> {
    return exchange(new URL(this.#base + path), { ...options, signal: this.#signal });
  }

  /**
   * Everything may be done twice; a server that was silent is not asked again, because a build waits. Nor is one that did not
   * take a look-up, unless a kept connection has just ended.
   */
  async #patiently<T>(attempt: () => Promise<T>, lookup = false): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        if (tries === ATTEMPTS || !(lookup ? isReset(error) : passing(error)) || this.#signal.aborted) throw error;
        await sleep(100 * 4 ** tries, undefined, { signal: this.#signal });
      }
    }
  }
}

function isReset(error: unknown): boolean {
  return error instanceof ExchangeError && error.message === "connection reset";
}

function passing(error: unknown): boolean {
  if (error instanceof RemoteError) return error.status === 503 || error.status === 502 || error.status === 429;
  return error instanceof ExchangeError && error.phase !== "abort" && !/^(nothing moved|no answer|no connection)/.test(error.message);
}

const encode = (message: object): Buffer => Buffer.from(JSON.stringify(message));

async function* iterate(parts: readonly Uint8Array[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part.buffer, part.byteOffset, part.byteLength);
}

/** An answer's body in memory of its own. @throws RemoteError when it is of another length */
async function collect(answer: Answer, size: number): Promise<Buffer<ArrayBuffer>> {
  const bytes = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for await (const chunk of answer.body) {
    if (at + chunk.length > size) throw new RemoteError(502, "the answer is longer than it should be");
    at += chunk.copy(bytes, at);
  }
  if (at !== size) throw new RemoteError(502, "the answer is shorter than it should be");
  return bytes;
}

async function refusal(answer: Answer): Promise<RemoteError> {
  const text = await answer.text(MESSAGE_LIMIT).catch(() => "");
  let message: unknown;
  try {
    message = (JSON.parse(text) as { error?: { message?: unknown } }).error?.message;
  } catch {
    // Something in between answered; its words are of no use.
  }
  return new RemoteError(answer.status, typeof message === "string" ? message : `the server answered ${answer.status}`);
}

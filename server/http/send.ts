import type { FastifyReply, FastifyRequest } from "fastify";
import type { ServerResponse } from "node:http";
import type { Bodies } from "../core/bodies.ts";
import type { Catalog, Lookup } from "../core/catalog.ts";
import type { Entry } from "../core/entry.ts";
import { errors, readFailure, StowError } from "../core/errors.ts";
import type { Grant } from "../core/grant.ts";
import type { Slot } from "../core/recent.ts";
import type { Front } from "./front.ts";
import { parseRange } from "./range.ts";

export interface SendOptions {
  readonly type?: string;
  /** More headers, names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The client follows a 302 to a signed URL of the storage. */
  readonly redirect?: boolean;
  /** The grant the body is read with (for trust), when there is one. */
  readonly grant?: Grant | undefined;
  /** From the look-up: lets the hit-only front answer the same request from RAM while it stays live. */
  readonly slot?: Slot;
  /** Until when the request's own signature is good, ms. */
  readonly until?: number;
}

/** A body that is sent. */
export interface Body {
  /** Bytes. */
  readonly size: number;
  /** In quotes; without one, nobody can ask whether it is still the same. */
  readonly etag?: string | undefined;
  /** ms */
  readonly modified?: number;
}

export type Read = (start: number, end: number, push: (chunk: Buffer) => Promise<void>) => Promise<void>;

export interface SenderOptions {
  /** Bodies up to this size are answered from RAM, bytes. */
  readonly small: number;
  /** Bodies from this size on may be redirected to the storage, bytes. */
  readonly redirectFrom: number;
  /** A client that takes nothing for so long is cut off, ms. */
  readonly stall: number;
}

/** Seconds a redirect's URL is good for: long enough to begin the download. */
const PRESIGN_SECONDS = 300;

/** Bodies on their way out, the same for every protocol: GET, HEAD, Range, conditional requests, Content-Length always. */
export class Sender {
  readonly #bodies: Bodies;
  readonly #catalog: Catalog;
  readonly #front: Front;
  readonly #options: SenderOptions;

  constructor(bodies: Bodies, catalog: Catalog, front: Front, options: SenderOptions) {
    this.#bodies = bodies;
    this.#catalog = catalog;
    this.#front = front;
    this.#options = options;
  }

  /** Answers with the body of a look-up's entry. @throws notFound (a miss), badRange, readFailure */
  lookup(request: FastifyRequest, reply: FastifyReply, lookup: Lookup, options: SendOptions = {}): FastifyReply | Promise<FastifyReply> {
    if (!lookup.entry) throw errors.notFound();
    return this.entry(request, reply, lookup.entry, { ...options, slot: lookup.slot });
  }

  /** Answers with an entry's body. @throws notFound (its bytes are gone), badRange, readFailure */
  entry(request: FastifyRequest, reply: FastifyReply, entry: Entry, options: SendOptions = {}): FastifyReply | Promise<FastifyReply> {
    const asked = this.#asked(request, reply, { size: entry.size, etag: etagOf(entry), modified: entry.created }, options);
    if (!asked) return reply;
    const { status, headers, start, end } = asked;
    this.#catalog.touch(entry, options.grant);
    if (request.method === "HEAD") return this.#end(request, reply, status, headers, undefined);
    if (entry.size > this.#options.small) return this.#large(request, reply, entry, status, headers, start, end, options);

    const small = (body: Buffer) => {
      const whole = status === 200;
      const sent = this.#end(request, reply, status, headers, whole ? body : body.subarray(start, end));
      if (whole && options.slot) this.#front.remember(request, entry, options.slot, headers, body, options);
      return sent;
    };
    const body = this.#bodies.bytes(entry);
    return body instanceof Promise ? body.then(small) : small(body);
  }

  /**
   * Answers with a body that no entry holds (yet), by the same rules as for an entry's. `read` hands [start, end) to its push;
   * a pushed chunk may be used again once its push has settled. @throws badRange, and what `read` throws before it pushed anything
   */
  async body(request: FastifyRequest, reply: FastifyReply, body: Body, read: Read, options: SendOptions = {}): Promise<FastifyReply> {
    const asked = this.#asked(request, reply, body, options);
    if (!asked) return reply;
    const { status, headers, start, end } = asked;
    if (request.method === "HEAD") return this.#end(request, reply, status, headers, undefined);
    await this.#stream(request, reply, (push) => read(start, end, push), status, headers, end - start);
    return reply;
  }

  /** What the request wants of a body; undefined when it has it already, and was told so. @throws badRange */
  #asked(request: FastifyRequest, reply: FastifyReply, { size, etag, modified }: Body, options: SendOptions) {
    const headers: Record<string, string | number> = {
      "content-type": options.type ?? "application/octet-stream",
      ...(etag !== undefined && { etag }),
      ...(modified !== undefined && { "last-modified": new Date(modified).toUTCString() }),
      "accept-ranges": "bytes",
      "cache-control": "private, no-cache",
      ...options.headers,
    };
    if (etag !== undefined && matches(request.headers["if-none-match"], etag)) return void this.#end(request, reply, 304, headers, undefined);
    const range = requestedRange(request, size, etag);
    if (range === "unsatisfiable") {
      reply.header("content-range", `bytes */${size}`);
      throw errors.badRange();
    }
    const [start, end] = range ? [range.start, range.end] : [0, size];
    if (range) headers["content-range"] = `bytes ${start}-${end - 1}/${size}`;
    headers["content-length"] = end - start;
    return { status: range ? 206 : 200, headers, start, end };
  }

  /**
   * Answers with what `produce` pushes, for bodies that no entry holds as they go out. A pushed chunk may be used again once
   * its push has settled; a client that takes nothing for too long is cut off. What fails before the first push is refused.
   * @throws what `produce` throws before it pushed anything
   */
  produced(request: FastifyRequest, reply: FastifyReply, headers: Readonly<Record<string, string | number>>, produce: (push: (chunk: Buffer) => Promise<void>) => Promise<void>): Promise<FastifyReply> {
    const size = headers["content-length"] as number | undefined;
    return this.#stream(request, reply, produce, 200, headers, size).then(() => reply);
  }

  #end(request: FastifyRequest, reply: FastifyReply, status: number, headers: Record<string, string | number>, body: Buffer | undefined): FastifyReply {
    request.stow.result = "hit";
    reply.hijack();
    reply.raw.writeHead(status, headers);
    reply.raw.end(body);
    if (body) request.stow.bytesOut += body.length;
    return reply;
  }

  async #large(request: FastifyRequest, reply: FastifyReply, entry: Entry, status: number, headers: Record<string, string | number>, start: number, end: number, options: SendOptions): Promise<FastifyReply> {
    if (options.redirect && entry.size >= this.#options.redirectFrom) {
      const location = await this.#bodies.presigned(entry, PRESIGN_SECONDS);
      if (location) return this.#end(request, reply, 302, { location, "content-length": 0, "cache-control": "no-store" }, undefined);
    }
    // Opened before the status goes out: a body that is gone is a miss, not a broken answer.
    const body = await this.#bodies.open(entry);
    const produce = async (push: (chunk: Buffer) => Promise<void>) => {
      try {
        await body.read(start, end, push);
      } finally {
        body.close().catch(() => {});
      }
    };
    await this.#stream(request, reply, produce, status, headers, end - start);
    return reply;
  }

  /** Resolves when the answer has begun. The head goes out with the first bytes, so what can't even begin is refused. @throws notFound, readFailure, clientGone */
  #stream(request: FastifyRequest, reply: FastifyReply, produce: (push: (chunk: Buffer) => Promise<void>) => Promise<void>, status: number, headers: Readonly<Record<string, string | number>>, size: number | undefined): Promise<void> {
    const response = reply.raw;
    const pipe = new ResponsePipe(response, this.#options.stall);
    return new Promise((resolve, reject) => {
      let begun = false;
      const begin = () => {
        begun = true;
        reply.hijack();
        request.stow.result = "hit";
        response.writeHead(status, headers);
        resolve();
      };
      const push = (chunk: Buffer) => {
        if (response.destroyed) return Promise.reject(errors.clientGone());
        if (!begun) begin();
        request.stow.bytesOut += chunk.length;
        return pipe.push(chunk);
      };
      const finish = () => {
        if (!begun) begin();
        // Fewer bytes than announced: the client would take those of the next answer for the rest.
        if (size !== undefined && request.stow.bytesOut !== size) throw errors.readFailure();
        response.end();
      };
      const fail = (error: unknown) => {
        if (!begun) return reject(readFailure(error));
        // The status is out: a client must see a cut connection, never a body that looks whole.
        request.stow.result = response.destroyed || (error as StowError).code === "STOW_CLIENT_GONE" ? "aborted" : "error";
        response.destroy();
      };
      void produce(push).then(finish).catch(fail).finally(() => pipe.close());
    });
  }
}

/** Writes chunks whose buffers are reused: each push settles when the socket has taken the bytes, or the client has left. */
class ResponsePipe {
  readonly #response: ServerResponse;
  readonly #timer: NodeJS.Timeout;
  #reject: ((error: Error) => void) | undefined;
  readonly #onClose = () => this.#reject?.(errors.clientGone());

  constructor(response: ServerResponse, stall: number) {
    this.#response = response;
    this.#timer = setTimeout(() => response.destroy(), stall);
    response.on("close", this.#onClose);
    response.on("error", this.#onClose);
  }

  push(chunk: Buffer): Promise<void> {
    if (this.#response.destroyed) return Promise.reject(errors.clientGone());
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#response.write(chunk, (error) => {
        this.#reject = undefined;
        this.#timer.refresh();
        if (error) reject(errors.clientGone("", { cause: error }));
        else resolve();
      });
    });
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#reject = undefined;
  }
}

export function etagOf(entry: Entry): string {
  return entry.digest ? `"${entry.digest}"` : `"entry-${entry.id}"`;
}

function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header === "*" || header.split(",").some((one) => one.trim().replace(/^W\//, "") === etag);
}

function requestedRange(request: FastifyRequest, size: number, etag: string | undefined) {
  // RFC 9110 §14.2: a range is for GET alone.
  if (request.method !== "GET") return undefined;
  // Azure's own header wins over Range, as in its service.
  const header = (request.headers["x-ms-range"] as string | undefined) ?? request.headers.range;
  const condition = request.headers["if-range"];
  return condition !== undefined && condition !== etag ? undefined : parseRange(header, size);
}

import type { FastifyRequest } from "fastify";
import type { IncomingMessage, ServerResponse } from "node:http";
import { errors } from "../core/errors.ts";
import { Places } from "./limits.ts";

export interface ReceiveOptions {
  /** A body that sends nothing for so long is given up, ms. */
  readonly stall: number;
  /** Large bodies received at once. */
  readonly bodies: number;
  /** Bodies up to this size need no place among them, bytes. */
  readonly small: number;
}

export interface Incoming {
  /** Announced by Content-Length; undefined for a chunked body. */
  readonly size: number | undefined;
  readonly stream: AsyncIterable<Buffer>;
}

const waitsForContinue = new WeakSet<IncomingMessage>();

/** Marks a request whose client waits for our word before it sends its body (Expect: 100-continue). */
export function expectContinue(request: IncomingMessage): void {
  waitsForContinue.add(request);
}

/** Bodies on their way in: counted, bounded, and given up when they stall. */
export class Receiver {
  readonly #options: ReceiveOptions;
  readonly #places: Places;

  constructor(options: ReceiveOptions) {
    this.#options = options;
    this.#places = new Places(options.bodies, options.stall);
  }

  /** The body as a stream of chunks, not yet flowing. @throws badRequest for a Content-Length that is none */
  body(request: FastifyRequest): Incoming {
    const header = request.headers["content-length"];
    const size = header === undefined ? undefined : Number(header);
    if (size !== undefined && !Number.isSafeInteger(size)) throw errors.badRequest("Content-Length is not a number");
    return { size, stream: this.#stream(request, size) };
  }

  /** A small body whole. @throws tooLarge before more than `limit` bytes are kept */
  async buffer(request: FastifyRequest, limit: number): Promise<Buffer> {
    const { size, stream } = this.body(request);
    if (size !== undefined && size > limit) throw errors.tooLarge(`${limit} bytes`);
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > limit) throw errors.tooLarge(`${limit} bytes`);
      chunks.push(chunk);
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  }

  async *#stream(request: FastifyRequest, size: number | undefined): AsyncGenerator<Buffer> {
    const large = size === undefined || size > this.#options.small;
    const leave = large ? await this.#places.take() : undefined;
    const raw: IncomingMessage = request.raw;
    let wake: (() => void) | undefined;
    const onEvent = () => wake?.();
    for (const event of BODY_EVENTS) raw.on(event, onEvent);
    try {
      if (waitsForContinue.delete(raw)) request.stow.response.writeContinue();
      for (;;) {
        const chunk = raw.read() as Buffer | null;
        if (chunk !== null) {
          request.stow.bytesIn += chunk.length;
          yield chunk;
        } else if (raw.readableEnded) break;
        else if (raw.destroyed) throw errors.clientGone();
        // Only the client's silence counts, not the time that a slow storage takes.
        else await silence((resume) => (wake = resume), this.#options.stall);
      }
      // Injected requests (tests) know no `complete`.
      if (raw.complete === false) throw errors.clientGone();
    } finally {
      // Leaving early (a refusal) leaves the connection alone: the answer still has to go out on it.
      for (const event of BODY_EVENTS) raw.off(event, onEvent);
      leave?.();
    }
  }
}

const BODY_EVENTS = ["readable", "end", "error", "close"] as const;

/** Resolves with the next event. @throws slowClient after `stall` ms without one */
function silence(listen: (resume: () => void) => void, stall: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(errors.slowClient()), stall);
    listen(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** What is read of a refused body, so that its sender gets to see the answer, before the connection is closed. */
const LINGER_MS = 3_000;

/** After a refusal: lets the rest of the body run into the void for a moment, then closes. */
export function discardRest(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete || request.destroyed) return;
  // A client that waits for our word will not send a body after a final status.
  if (waitsForContinue.delete(request)) {
    response.setHeader("connection", "close");
    return;
  }
  request.on("error", () => {});
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
  request.once("end", () => clearTimeout(timer));
}

import http, { type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import https from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { NOWHERE, reachOf, type Reach } from "./address.ts";
import { UpstreamFailure } from "./failure.ts";

export interface Timeouts {
  /** Until connected, TLS included, ms. */
  readonly connect: number;
  /** Until an answer begins, ms. */
  readonly firstByte: number;
  /** Longest silence in its body, ms. */
  readonly stall: number;
}

export interface ExchangeOptions {
  readonly method: "GET" | "HEAD";
  readonly headers: Readonly<Record<string, string>>;
  readonly timeouts: Timeouts;
  readonly signal: AbortSignal;
  /** Nothing nearer is connected to. */
  readonly reach: Reach;
  readonly lookup?: LookupFunction | undefined;
  /** False: a connection for this request alone. */
  readonly agent: http.Agent | false;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** How near the server is that gave it. */
  readonly reach: Reach;
  /** The body; must be read to its end, or discarded. @throws UpstreamFailure */
  readonly body: AsyncIterable<Buffer>;
  /** A small body whole. @throws UpstreamFailure, also for a larger one */
  whole(limit: number): Promise<Buffer>;
  discard(): void;
}

/** An unread body up to this size is read away to keep the connection, bytes. */
const DRAINED = 64 * 1024;

/** One request and the head of its answer, each phase with its own time. @throws UpstreamFailure; the signal's reason */
export function exchange(url: URL, options: ExchangeOptions): Promise<Answer> {
  const { timeouts, signal, method, headers, lookup, agent, reach } = options;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  // A literal address is connected to without any look-up.
  if (isIP(host) !== 0 && reachOf(host) > reach) return Promise.reject(new UpstreamFailure("refused", `${host} is a private address`));
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? https : http).request(url, { method, headers, agent, signal, ...(lookup && { lookup }) });
    let timer: NodeJS.Timeout | undefined;
    const wait = (ms: number, what: string) => {
      clearTimeout(timer);
      timer = setTimeout(() => request.destroy(new UpstreamFailure("timeout", `${what} within ${ms} ms`)), ms);
    };
    let connected = false;
    const onConnect = () => {
      connected = true;
      wait(timeouts.firstByte, "no answer began");
    };
    request.on("socket", (socket) => {
      if (!socket.connecting) return onConnect();
      wait(timeouts.connect, "not connected");
      socket.once(url.protocol === "https:" ? "secureConnect" : "connect", onConnect);
    });
    request.on("response", (response) => {
      clearTimeout(timer);
      resolve(answerOf(response, timeouts.stall));
    });
    request.on("error", (error) => {
      clearTimeout(timer);
      if (signal.aborted) return reject(signal.reason as Error);
      reject(error instanceof UpstreamFailure ? error : new UpstreamFailure(connected ? "broken" : "connect", error.message, { cause: error }));
    });
    request.end();
  });
}

function answerOf(response: IncomingMessage, stall: number): Answer {
  const body = () => read(response, stall);
  const address = response.socket.remoteAddress;
  // The stream may fail while nobody reads it.
  response.on("error", () => {});
  return {
    status: response.statusCode!,
    headers: response.headers,
    reach: address === undefined ? NOWHERE : reachOf(address),
    body: { [Symbol.asyncIterator]: body },
    whole: async (limit) => {
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of body()) {
        length += chunk.length;
        if (length > limit) throw new UpstreamFailure("invalid", `the answer is longer than ${limit} bytes`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    discard: () => {
      const length = Number(response.headers["content-length"] ?? Number.NaN);
      if (!(length <= DRAINED)) return void response.destroy();
      const timer = setTimeout(() => response.destroy(), stall).unref();
      response.once("close", () => clearTimeout(timer));
      response.resume();
    },
  };
}

async function* read(response: IncomingMessage, stall: number): AsyncGenerator<Buffer> {
  const chunks = response[Symbol.asyncIterator]();
  // Only the upstream's silence counts, not the time that whoever reads takes for a chunk.
  let waiting = false;
  const timer = setTimeout(() => waiting && response.destroy(new UpstreamFailure("timeout", `silent for ${stall} ms in the middle of an answer`)), stall);
  try {
    for (;;) {
      waiting = true;
      timer.refresh();
      const next = await chunks.next();
      waiting = false;
      if (next.done) break;
      yield next.value as Buffer;
    }
    if (!response.complete) throw new UpstreamFailure("broken", "the answer broke off");
  } catch (error) {
    throw error instanceof UpstreamFailure ? error : new UpstreamFailure("broken", (error as Error).message, { cause: error });
  } finally {
    clearTimeout(timer);
    // Who stops early, though everything has arrived, leaves a socket that nobody listens to: an abort's error would end the process.
    if (!response.readableEnded) response.destroy();
  }
}

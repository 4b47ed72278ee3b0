import type { Agent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Clock, ExchangeError, type Patience, type Phase } from "./patience.ts";
import { ASK_FROM, sendBody, type Upload } from "./upload.ts";

export interface ExchangeOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly upload?: Upload;
  readonly patience: Patience;
  /** Ends the exchange, its body included. */
  readonly signal?: AbortSignal | undefined;
}

/** What a server said. Its body must be read or discarded. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** @throws ExchangeError when it breaks off, or is shorter than announced */
  readonly body: AsyncIterable<Buffer>;
  /** The body as text. @throws ExchangeError when it breaks off, or is longer than `limit` bytes */
  text(limit?: number): Promise<string>;
  discard(): void;
}

const TEXT_LIMIT = 4 * 1024 * 1024;
/** Rests of answers up to this size are read, so that the connection can be used again. */
const DISCARD_LIMIT = 64 * 1024;

/**
 * Not imported: an import reads all that a module exports, and http's WebSocket loads a whole second client (35 ms of every
 * start); https takes as long, and many have no use for it.
 */
const modules = { "http:": () => process.getBuiltinModule("node:http"), "https:": () => process.getBuiltinModule("node:https") };
type Scheme = keyof typeof modules;

let proxyEnv: Record<"HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY", string | undefined> | undefined;
const agents = new Map<string, Agent>();

/** Proxies as the variables of these names state them. */
export interface Proxies {
  readonly httpProxy?: string | undefined;
  readonly httpsProxy?: string | undefined;
  readonly noProxy?: string | undefined;
}

/** Lets this process's exchanges go through proxies from now on. */
export function throughProxies({ httpProxy, httpsProxy, noProxy }: Proxies): void {
  proxyEnv = httpProxy || httpsProxy ? { HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy, NO_PROXY: noProxy } : undefined;
  agents.clear();
}

function agentOf(scheme: Scheme, keepAlive: boolean): Agent {
  const name = `${scheme} ${keepAlive}`;
  let agent = agents.get(name);
  if (!agent) agents.set(name, (agent = new (modules[scheme]().Agent)({ keepAlive, proxyEnv })));
  return agent;
}

/** One HTTP exchange of which every wait is bounded. Redirects are answers like others. @throws ExchangeError */
export async function exchange(url: URL, options: ExchangeOptions): Promise<Answer> {
  const scheme: Scheme = url.protocol === "https:" ? "https:" : "http:";
  try {
    return await attempt(url, options, scheme, true);
  } catch (error) {
    // The server may close a kept connection in the moment it is used again; a fresh one settles what is the case.
    if (error instanceof StaleConnection && !options.upload) return attempt(url, options, scheme, false);
    throw error;
  }
}

class StaleConnection extends ExchangeError {}

function attempt(url: URL, { method, headers, upload, patience, signal }: ExchangeOptions, scheme: Scheme, keepAlive: boolean): Promise<Answer> {
  const request = modules[scheme]().request(url, {
    method: method ?? (upload ? "POST" : "GET"),
    agent: agentOf(scheme, keepAlive),
    headers: { ...headers, ...(upload && { "content-length": String(upload.size) }), ...(upload && upload.size >= ASK_FROM && upload.ask !== false && { expect: "100-continue" }) },
  });
  return new Promise<Answer>((resolve, reject) => {
    let phase: Phase = "connect";
    let connected = false;
    let sent = upload === undefined;
    let response: IncomingMessage | undefined;
    // Once there is a response, only destroying that one hands its reader the reason.
    const fail = (error: Error) => void (response ?? request).destroy(error);
    const clock = new Clock(patience, fail);
    const advance = () => {
      if (!connected || response) return;
      phase = sent ? "answer" : "body";
      if (!sent) clock.flowing();
      else clock.answering(upload && performance.now());
    };
    const onAbort = () => fail(new ExchangeError("abort", "it took longer than allowed"));
    const end = () => {
      clock.stop();
      signal?.removeEventListener("abort", onAbort);
      // Answered before the whole body was sent: the connection is of no use any more.
      if (!request.writableEnded) request.destroy();
    };

    clock.connecting();
    signal?.addEventListener("abort", onAbort);
    whenConnected(request, scheme === "https:", () => {
      connected = true;
      advance();
    });
    request.on("error", (error) => {
      end();
      reject(explained(error, phase, request.reusedSocket));
    });
    request.on("response", (incoming) => {
      phase = "body";
      response = incoming;
      clock.flowing();
      incoming.on("close", end);
      resolve(new Received(incoming, clock));
    });
    if (signal?.aborted) return onAbort();
    if (!upload) return void request.end();
    sendBody(request, upload, () => connected && clock.touch()).then(
      (whole) => {
        sent = whole;
        advance();
      },
      (error: Error) => {
        // What could not be read is the sender's trouble, not the server's.
        reject(error);
        fail(error);
      },
    );
  });
}

function whenConnected(request: ClientRequest, secure: boolean, then: () => void): void {
  request.once("socket", (socket) => {
    if (socket.connecting) socket.once(secure ? "secureConnect" : "connect", then);
    else then();
  });
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused", ENOTFOUND: "no such host", EAI_AGAIN: "the host's name can't be resolved now", ECONNRESET: "connection reset", EPIPE: "connection closed by the server",
  EHOSTUNREACH: "host unreachable", ENETUNREACH: "network unreachable", ETIMEDOUT: "connection timed out",
};

function explained(error: Error, phase: Phase, reused: boolean): ExchangeError {
  if (error instanceof ExchangeError) return error;
  const { code = "" } = error as NodeJS.ErrnoException;
  const message = REASONS[code] ?? (error.message || code);
  return code === "ECONNRESET" && reused ? new StaleConnection(phase, message, error) : new ExchangeError(phase, message, error);
}

class Received implements Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly #incoming: IncomingMessage;
  readonly #clock: Clock;

  constructor(incoming: IncomingMessage, clock: Clock) {
    this.status = incoming.statusCode!;
    this.headers = incoming.headers;
    this.#incoming = incoming;
    this.#clock = clock;
    // A body nobody reads must not end the process when it breaks.
    incoming.on("error", () => {});
  }

  get body(): AsyncIterable<Buffer> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of this.#incoming as AsyncIterable<Buffer>) {
        // Only the server's silence counts: a reader may take its time.
        this.#clock.stop();
        yield chunk;
        if (!this.#incoming.destroyed) this.#clock.flowing();
      }
    } catch (error) {
      throw explained(error as Error, "body", false);
    }
  }

  async text(limit = TEXT_LIMIT): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.#read()) {
      size += chunk.length;
      if (size > limit) throw new ExchangeError("body", `the answer is longer than ${limit} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  discard(): void {
    if (Number(this.headers["content-length"] ?? Infinity) <= DISCARD_LIMIT) this.#incoming.resume();
    else this.#incoming.destroy();
  }
}

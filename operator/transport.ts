import { request as httpRequest, type Agent, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { kubeErrors, type KubeError } from "./kube-error.ts";

/** How to reach the API server at this moment. */
export interface Connection {
  readonly url: URL;
  readonly agent: Agent;
  /** With the credential. */
  readonly headers: Readonly<Record<string, string>>;
}

/** @param fresh the last credential was refused: read it anew from where it comes from */
export type Connect = (fresh?: boolean) => Promise<Connection>;

export interface Call {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly accept?: string;
  readonly contentType?: string;
  readonly body?: unknown;
  /** For the whole exchange; of a stream, until its headers have arrived; ms. */
  readonly timeout: number;
  /** Ends the exchange at once. */
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | undefined;
}

/** A page of 500 objects; the API server itself holds none above 3 MiB. */
const MAX_ANSWER = 64 << 20;
const AGENT = "stowhouse-operator";

/**
 * Sends a request and reads its answer whole, whatever its status.
 * @throws KubeError `Unreachable`, `TimedOut`
 */
export async function exchange(connect: Connect, call: Call): Promise<Answer> {
  const { response, done } = await withCredential(connect, call);
  try {
    return { status: response.statusCode ?? 0, text: await read(response), retryAfter: response.headers["retry-after"] };
  } catch (error) {
    throw done() ?? kubeErrors.unreachable(`${name(call)}: the API server's answer broke off: ${(error as Error).message}`, error);
  } finally {
    done();
  }
}

/**
 * Opens a stream. The caller reads the response to its end, or destroys it; from here on nothing but `signal` limits its time.
 * @throws KubeError `Unreachable`, `TimedOut`
 */
export async function openStream(connect: Connect, call: Call): Promise<IncomingMessage> {
  const { response, done, forget } = await withCredential(connect, call);
  forget();
  response.once("close", () => void done());
  return response;
}

/** A token is replaced in its file before it expires, but the copy in memory may be older than that: one more try. */
async function withCredential(connect: Connect, call: Call): Promise<Sent> {
  const first = await sendTwice(await connect(), call);
  if (first.response.statusCode !== 401) return first;
  first.response.resume();
  first.done();
  return sendTwice(await connect(true), call);
}

const name = ({ method, path }: Call) => `${method} ${path.split("?")[0]}`;

/** The API server closes connections that were idle: a request that meets such an end has not been read. */
async function sendTwice(connection: Connection, call: Call): Promise<Sent> {
  try {
    return await send(connection, call);
  } catch (error) {
    const { stale } = error as { stale?: boolean };
    if (stale !== true || call.method === "POST") throw error;
    return send(connection, call);
  }
}

interface Sent {
  readonly response: IncomingMessage;
  /** Ends all watching over the request; tells which limit it met, if any. */
  done(): KubeError | undefined;
  /** The time limit no longer counts. */
  forget(): void;
}

function send(connection: Connection, call: Call): Promise<Sent> {
  const { method, path, accept = "application/json", contentType = "application/json", body, timeout, signal } = call;
  const what = name(call);
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(kubeErrors.unreachable(`${what} was given up.`));
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = {
      ...connection.headers,
      accept,
      "user-agent": AGENT,
      ...(payload === undefined ? {} : { "content-type": contentType, "content-length": payload.length }),
    };
    const start = connection.url.protocol === "https:" ? httpsRequest : httpRequest;
    const base = connection.url.pathname.replace(/\/$/, "");
    const request = start(connection.url, { method, path: base + path, headers, agent: connection.agent });
    let limit: KubeError | undefined;
    const cut = (error: KubeError) => {
      limit = error;
      request.destroy(error);
    };
    const timer = setTimeout(() => cut(kubeErrors.timedOut(`${what}: no answer from the API server within ${timeout} ms.`)), timeout);
    const abort = () => cut(kubeErrors.unreachable(`${what} was given up.`));
    signal?.addEventListener("abort", abort);
    const forget = () => clearTimeout(timer);
    const done = () => {
      forget();
      signal?.removeEventListener("abort", abort);
      return limit;
    };
    request.once("response", (response) => resolve({ response, done, forget }));
    request.on("error", (error: NodeJS.ErrnoException) => {
      const met = done();
      const stale = met === undefined && request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
      reject(Object.assign(met ?? kubeErrors.unreachable(`${what}: the API server can't be reached: ${error.message}`, error), { stale }));
    });
    request.end(payload);
  });
}

async function read(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER) throw new Error("it is larger than 64 MiB");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { ProtocolClient } from "../../server/protocols/client.ts";
import type { Deferral } from "./deferral.ts";
import type { Gate } from "./gate.ts";
import { incoming, TooLarge, type Incoming } from "./incoming.ts";
import { sendAnswer } from "./outgoing.ts";
import { clients } from "./protocols.ts";
import { mark, unmark } from "./handles.ts";
import { failOpen, relay, type Call, type Outcome } from "./relay.ts";
import type { Tally } from "./tally.ts";
import type { Upstream } from "./upstream.ts";

/** A tool may take its time within a request, and keep its connection: few tools bear that one is closed as they use it again. ms */
const REQUEST_MS = 30 * 60_000;
const KEEP_MS = 15 * 60_000;

export interface ProxyParts {
  readonly gate: Gate;
  readonly upstreams: readonly Upstream[];
  readonly tally: Tally;
  /** Asked in turn before a request is relayed. */
  readonly deferrals: readonly Deferral[];
}

/** How a connection came. */
export interface Connection {
  /** The host it is intercepted for. */
  readonly host?: string;
}

/** The HTTP side of the daemon: who may come in, which protocol it is, and the answer of a server or what stands for it. */
export class Proxy {
  readonly http: Server;
  readonly #parts: ProxyParts;

  constructor(parts: ProxyParts) {
    this.#parts = parts;
    this.http = createServer({ requestTimeout: REQUEST_MS, keepAliveTimeout: KEEP_MS }, (request, response) => this.handle(request, response));
  }

  /** Answers any request, whatever goes wrong. @returns false when it is not the daemon's, which only an intercepted one may be */
  handle(request: IncomingMessage, response: ServerResponse, { host }: Connection = {}): boolean {
    const { gate } = this.#parts;
    const admitted = gate.admit({
      url: request.url!, authorization: request.headers.authorization, local: isLoopback(request.socket.localAddress), intercepted: host !== undefined,
    });
    if (!admitted) {
      if (host === undefined) refuse(request, response, 401, "This is a job's own cache proxy; only the job's tools may use it.");
      return false;
    }
    const path = admitted.target.split("?", 1)[0]!.replace(/^\/c\/[a-z0-9-]{1,63}(?=\/)/, "");
    const client = clients.find((one) => one.serves(path));
    if (!client) {
      if (host === undefined) refuse(request, response, 404, "No cache protocol has this path.");
      return false;
    }
    response.on("error", () => {});
    void this.#serve(request, response, client, path, admitted, host);
    return true;
  }

  async #serve(request: IncomingMessage, response: ServerResponse, client: ProtocolClient, path: string, { target, server }: { target: string; server: number | undefined }, host?: string): Promise<void> {
    const { gate, tally, upstreams } = this.#parts;
    const began = performance.now();
    const row = tally.of(client.name);
    const tool = { method: request.method!, path, type: request.headers["content-type"] };
    const prefixed = request.url!.startsWith("/s/");
    const origin = host === undefined ? `http://${request.headers.host ?? ""}` : `https://${host}`;
    const call: Call = {
      request, response, client, tool, row,
      target: server === undefined ? addressed(client, path, target, upstreams.length) : { to: target, server, signed: true },
      via: (url, upstream) => {
        // A relative URL is asked for like this one was.
        if (url.startsWith("/")) return prefixed ? gate.path(url) : url;
        const { pathname, search } = new URL(url);
        return origin + gate.path(pathname + search, upstream.index);
      },
      mark: (handle, upstream) => mark(handle, upstream.index, upstreams.length),
      own: (own) => origin + gate.path(own),
    };
    tally.uses++;
    try {
      const outcome = await this.#outcome(call, await incoming(request));
      if (outcome === "hit") row.hits++;
      else if (outcome === "miss") row.misses++;
      else if (outcome === "stored") row.stored++;
      else if (outcome === "failed") row.failed++;
    } catch (error) {
      if (error instanceof TooLarge) return refuse(request, response, 411, error.message);
      row.failed++;
      if (request.destroyed && !request.complete) return void response.destroy();
      console.error(`${tool.method} ${path}: ${(error as Error).stack}`);
      failOpen(call);
    } finally {
      row.msWaited += performance.now() - began;
      tally.uses++;
    }
  }

  async #outcome(call: Call, body: Incoming): Promise<Outcome> {
    for (const deferral of this.#parts.deferrals) {
      const handled = await deferral.handle(call, body);
      if (typeof handled === "string") return handled;
      if (handled) call = handled;
    }
    return relay(this.#parts.upstreams, call, body);
  }
}

/** Where a request goes whose path may hold a handle. */
function addressed(client: ProtocolClient, path: string, target: string, servers: number): Call["target"] {
  const marked = client.handle?.exec(path)?.[1];
  if (marked === undefined) return { to: target };
  const { handle, server } = unmark(marked, servers) ?? { handle: marked, server: servers };
  return { to: target.replace(`/${marked}`, `/${handle}`), server };
}

function refuse(request: IncomingMessage, response: ServerResponse, status: number, message: string): void {
  request.resume();
  const headers: Record<string, string> = status === 401 ? { "www-authenticate": 'Basic realm="stowhouse"' } : {};
  sendAnswer(response, { status, type: "application/json; charset=utf-8", body: JSON.stringify({ error: status === 401 ? "unauthorized" : "refused", message }), headers });
}

export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(?:::ffff:)?127\.|^::1$/.test(address);
}

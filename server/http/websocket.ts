import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ServerResponse, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { errors } from "../core/errors.ts";
import type { Auth } from "./auth.ts";

export interface WebSocketLimits {
  /** Connections of this process at once. */
  readonly sockets: number;
  /** Largest message a client may send, bytes. */
  readonly message: number;
  /** How often each client is pinged, ms: more often than proxies close what is silent. */
  readonly ping: number;
  /** A client that is not heard of for so long is gone, ms. */
  readonly silence: number;
  /** Connections of one credential at once. */
  readonly perActor: number;
  /** How often it is looked whether credentials still stand, ms. */
  readonly check: number;
}

export interface WebSocketOptions {
  /** Some clients never read what they are sent, so they answer no pings: their silence means nothing. */
  readonly deaf?: boolean;
}

interface Connection {
  readonly request: FastifyRequest;
  readonly deaf: boolean;
  /** When it was last heard of, ms. */
  heard: number;
}

/** Codes that say why a connection is closed (RFC 6455 §7.4.1). */
export const CLOSE = { done: 1000, away: 1001, refused: 1008, failed: 1011 } as const;

/** After this, a client that does not say goodbye is cut off, ms. */
const FAREWELL_MS = 1_000;

/**
 * WebSockets on the server's own port. A request to become one goes through routes and hooks as every other does: the
 * handler has the verified credential, and whatever it throws is answered in plain HTTP.
 */
export class WebSockets {
  readonly #limits: WebSocketLimits;
  readonly #auth: Pick<Auth, "alive">;
  readonly #server: WebSocketServer;
  /** Connections whose requests are on their way to their handlers. */
  readonly #asking = new WeakMap<IncomingMessage, { socket: Duplex; head: Buffer }>();
  readonly #open = new Map<WebSocket, Connection>();
  /** How many each credential has. */
  readonly #actors = new Map<string, number>();
  #timers: NodeJS.Timeout[] = [];
  #closing = false;

  constructor(auth: Pick<Auth, "alive">, limits: WebSocketLimits) {
    this.#auth = auth;
    this.#limits = limits;
    this.#server = new WebSocketServer({ noServer: true, clientTracking: false, perMessageDeflate: false, maxPayload: limits.message });
  }

  get size(): number {
    return this.#open.size;
  }

  /** From now on requests of `app` may become WebSockets; all are closed with it. */
  listen(app: FastifyInstance): void {
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => this.#route(app, request, socket, head);
    app.server.on("upgrade", onUpgrade);
    this.#timers = [setInterval(() => this.#ping(), this.#limits.ping).unref(), setInterval(() => this.#check(), this.#limits.check).unref()];
    app.addHook("preClose", (done) => {
      app.server.off("upgrade", onUpgrade);
      this.#close();
      done();
    });
  }

  /** Makes the request a WebSocket, in its handler. @throws upgradeRequired, tooManySockets */
  accept(request: FastifyRequest, reply: FastifyReply, open: (socket: WebSocket) => void, { deaf = false }: WebSocketOptions = {}): FastifyReply {
    const asking = this.#asking.get(request.raw);
    if (!asking) throw errors.upgradeRequired();
    if (this.#closing) throw errors.draining();
    if (this.#open.size >= this.#limits.sockets || (this.#actors.get(request.stow.actor) ?? 0) >= this.#limits.perActor) throw errors.tooManySockets("", { retryAfter: 30 });
    this.#asking.delete(request.raw);
    reply.hijack();
    const response = reply.raw;
    // What is no handshake after all is answered by the library.
    asking.socket.once("close", () => account(response, 400));
    this.#server.handleUpgrade(request.raw, asking.socket, asking.head, (socket) => {
      response.detachSocket(asking.socket as never);
      account(response, 101);
      this.#keep(socket, { request, deaf, heard: Date.now() });
      open(socket);
    });
    return reply;
  }

  #route(app: FastifyInstance, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as never);
    // A refusal is an answer like any other, and the last one.
    response.once("finish", () => socket.end());
    this.#asking.set(request, { socket, head });
    app.routing(request, response);
  }

  #keep(socket: WebSocket, connection: Connection): void {
    const { actor } = connection.request.stow;
    const hear = () => void (connection.heard = Date.now());
    this.#open.set(socket, connection);
    this.#actors.set(actor, (this.#actors.get(actor) ?? 0) + 1);
    socket.on("pong", hear).on("ping", hear).on("message", hear);
    // What breaks closes, and that is told.
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#open.delete(socket);
      const left = this.#actors.get(actor)! - 1;
      if (left === 0) this.#actors.delete(actor);
      else this.#actors.set(actor, left);
    });
  }

  /** Closes what was opened with a credential that has ended since. */
  #check(): void {
    for (const [socket, { request }] of this.#open) {
      // Who can't be asked about is not sent away.
      this.#auth.alive(request).then((alive) => alive || hangUp(socket, CLOSE.refused, "the key has ended"), () => {});
    }
  }

  #ping(): void {
    const oldest = Date.now() - this.#limits.silence;
    for (const [socket, { heard, deaf }] of this.#open) {
      if (!deaf && heard < oldest) socket.terminate();
      else if (socket.readyState === WebSocket.OPEN) socket.ping();
    }
  }

  #close(): void {
    this.#closing = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#open.keys()) hangUp(socket, CLOSE.away, "the server stops");
  }
}

/** Closes a connection; a client that does not answer that is cut off. */
export function hangUp(socket: WebSocket, code: number, reason = ""): void {
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), FAREWELL_MS);
  socket.once("close", () => clearTimeout(timer));
  if (socket.readyState === WebSocket.CLOSED) clearTimeout(timer);
}

/** A connection that lives for months is no slow request: its request ends with the handshake. */
function account(response: ServerResponse, status: number): void {
  if (response.writableEnded) return;
  response.statusCode = status;
  response.end();
  response.emit("close");
}

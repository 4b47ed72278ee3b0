import Fastify, { type FastifyInstance } from "fastify";
import { readFileSync, watchFile, unwatchFile } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Accounting } from "./accounting.ts";
import type { Auth } from "./auth.ts";
import { cachePrefix, RequestContext, stripCachePrefix, type RouteConfig } from "./context.ts";
import { refuse, toStowError } from "./errors.ts";
import type { Front } from "./front.ts";
import type { Listeners } from "./listeners.ts";
import type { Log } from "./log.ts";
import { expectContinue, type Receiver } from "./receive.ts";
import { errors } from "../core/errors.ts";
import { jsonRefusals } from "./refusals.ts";

export interface ServerOptions {
  readonly headerSize: number;
  readonly headersTimeout: number;
  readonly jsonBody: number;
  readonly trustedProxies: readonly string[];
  readonly tls?: { cert: string; key: string; clientCa?: string | undefined; requireClientCert: boolean } | undefined;
}

export interface ServerParts {
  readonly auth: Auth;
  readonly accounting: Accounting;
  readonly front: Front;
  readonly receive: Receiver;
  /** Ports beside the main one. */
  readonly listeners: Listeners;
  readonly log: Log;
  /** Whether clients are asked to look for another server. */
  readonly readiness: { readonly draining: boolean };
}

/** Longer than what load balancers keep an idle connection: they must be the ones who close it. */
const KEEP_ALIVE_MS = 75_000;
const TLS_POLL_MS = 2_000;
/** How often connections that have become idle are closed at the end. */
const SWEEP_MS = 50;

/** How the server itself answers errors, outside of any protocol. */
export const serverRefusals = jsonRefusals((error) => ({ error: { code: error.code, message: error.message } }));

/** The Fastify instance all routes hang on: contexts, credentials, accounting and errors are in place. */
export function createHttpServer(options: ServerOptions, parts: ServerParts): FastifyInstance {
  const { auth, accounting, front, receive, listeners, log, readiness } = parts;
  let closing = false;
  const app = Fastify({
    serverFactory: (handler) => {
      const listener: RequestListener = (request, response) => {
        // Clients of kept connections have to look for another server.
        if (closing || readiness.draining) response.shouldKeepAlive = false;
        if (!front.answer(request, response)) handler(request, response);
      };
      listeners.connect((around) => makeServer(options, log, around(listener)));
      return makeServer(options, log, listener);
    },
    rewriteUrl: (request) => stripCachePrefix(request as IncomingMessage),
    trustProxy: options.trustedProxies.length > 0 ? [...options.trustedProxies] : false,
    bodyLimit: options.jsonBody,
    routerOptions: { ignoreDuplicateSlashes: true, maxParamLength: 4_096 },
    return503OnClosing: false,
    clientErrorHandler: onClientError,
    frameworkErrors: (error, request, reply) => {
      // A URL the router can't read has not been through the hooks.
      (request as { stow: RequestContext }).stow ??= new RequestContext(request.ip, undefined, reply.raw);
      refuse(request, reply as never, toStowError(error), serverRefusals, log);
    },
  });
  app.decorateRequest("stow", null as never);
  // Fastify's own reader of bodies knows neither stalls nor Expect: 100-continue.
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.removeContentTypeParser("text/plain");
  app.addContentTypeParser("application/json", (request, _payload, done) => {
    receive.buffer(request, options.jsonBody).then((body) => parseJson(request, body.toString("utf8"), done), done);
  });

  app.addHook("preClose", (done) => {
    closing = true;
    listeners.stop();
    if (!app.server.listening) return done();
    // A connection whose last request began before would be kept for as long as its client likes.
    const sweep = setInterval(() => app.server.closeIdleConnections(), SWEEP_MS).unref();
    app.server.once("close", () => clearInterval(sweep));
    done();
  });

  // Callback style: an async hook would cost every request a promise.
  app.addHook("onRequest", (request, reply, done) => {
    const ctx = new RequestContext(request.ip, cachePrefix(request.raw), reply.raw);
    request.stow = ctx;
    ctx.epoch = auth.epoch;
    const config = request.routeOptions.config as RouteConfig | undefined;
    if (config?.op !== undefined) {
      ctx.config = config;
      ctx.protocol = config.protocol ?? "server";
    }
    reply.raw.once("close", () => {
      if (!reply.raw.writableEnded && ctx.result !== "error") ctx.result = "aborted";
      accounting.done(ctx, request.raw, reply.raw);
    });
    if (ctx.config.auth === "none" || ctx.config.auth === "signed") return done();
    try {
      const checked = auth.check(request);
      if (checked instanceof Promise) checked.then(() => done(), done);
      else done();
    } catch (error) {
      done(error as Error);
    }
  });
  app.setErrorHandler((error, request, reply) => refuse(request, reply, error, serverRefusals, log));
  app.setNotFoundHandler((request, reply) => refuse(request, reply, errors.noRoute(), serverRefusals, log));
  return app;
}

function makeServer(options: ServerOptions, log: Log, listener: RequestListener): Server | TlsServer {
  const settings = {
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: options.headersTimeout,
    // A large upload may take hours; receive.ts ends those that stall.
    requestTimeout: 0,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: options.headerSize,
    noDelay: true,
    // Gradle's client asks every server for HTTP/2 this way; only who serves WebSockets may take a connection from us.
    shouldUpgradeCallback: (request: IncomingMessage) => server.listenerCount("upgrade") > 0 && request.headers.upgrade?.toLowerCase() === "websocket",
  };
  const server: Server | TlsServer = options.tls ? createTlsServer({ ...settings, ...readTls(options.tls) }, listener) : createServer(settings, listener);
  // The handler decides before the body is sent whether it wants it.
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    expectContinue(request);
    server.emit("request", request, response);
  });
  if (options.tls) reloadTls(server as TlsServer, options.tls, log);
  return server;
}

function readTls(tls: NonNullable<ServerOptions["tls"]>) {
  return {
    cert: readFileSync(tls.cert),
    key: readFileSync(tls.key),
    ...(tls.clientCa ? { ca: readFileSync(tls.clientCa), requestCert: true, rejectUnauthorized: tls.requireClientCert } : {}),
  };
}

/** Takes renewed certificates over without a restart. A pair that does not fit together (half of it written) is left for the next look. */
function reloadTls(server: TlsServer, tls: NonNullable<ServerOptions["tls"]>, log: Log): void {
  const files = [tls.cert, tls.key, tls.clientCa].filter((file) => file !== undefined);
  const reload = () => {
    try {
      server.setSecureContext(readTls(tls));
      log.info("TLS certificate read again");
    } catch (error) {
      // Keep what works; the file changes again when its other half is there.
      log.warn("TLS certificate changed, but it can't be used; the one before stays", { cause: String(error) });
    }
  };
  for (const file of files) watchFile(file, { interval: TLS_POLL_MS, persistent: false }, reload);
  server.on("close", () => {
    for (const file of files) unwatchFile(file, reload);
  });
}

/** What is no HTTP gets a plain answer and a closed connection. */
function onClientError(error: NodeJS.ErrnoException, socket: import("node:net").Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  // Node's own field: the answer under way on this connection. Nothing may come before or between its bytes.
  const running = (socket as { _httpMessage?: ServerResponse })._httpMessage;
  if (running && (running.headersSent || running.req.complete)) return void socket.destroy();
  const status = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "408 Request Timeout" : "400 Bad Request";
  const body = JSON.stringify({ error: { code: "STOW_BAD_REQUEST", message: `The request is not valid HTTP: ${status.slice(4)}.` } });
  socket.end(`HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`);
}

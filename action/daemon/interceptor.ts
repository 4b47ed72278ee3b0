import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import { isLoopback, type Proxy } from "./proxy.ts";
import { INTERCEPTED_HOST, type Identity, type ProxySettings } from "./settings.ts";
import { join, open, parseAuthority, type Authority } from "./tunnel.ts";

/** What a tool that speaks to no host of ours must not notice: only a broken connection ends one. */
const IDLE_MS = 30 * 60_000;

/**
 * The CONNECT proxy of `intercept-actions-cache`. It opens the connections to one host, the one GitHub's cache service lives
 * on, and serves the cache there; everything else on that host is handed on, and every other host is tunnelled unread.
 */
export class Interceptor {
  readonly #proxy: Proxy;
  readonly #proxies: ProxySettings;
  readonly #host: string;
  readonly #authority: Authority;
  readonly #context: tls.SecureContext;
  readonly #agent: https.Agent;
  readonly #inner: Server;
  readonly #admits: (header: string | undefined) => boolean;

  /** @param admits whether a Proxy-Authorization header names the job's secret */
  constructor(proxy: Proxy, identity: Identity, host: string | undefined, proxies: ProxySettings, admits: (header: string | undefined) => boolean) {
    this.#proxy = proxy;
    this.#proxies = proxies;
    this.#admits = admits;
    this.#host = host ?? INTERCEPTED_HOST;
    this.#authority = parseAuthority(this.#host, 443)!;
    this.#context = tls.createSecureContext({ key: identity.key, cert: identity.certificate });
    this.#agent = new https.Agent({ keepAlive: true });
    // Node's agent would use its own idea of a proxy; ours is the one the tunnels use as well.
    this.#agent.createConnection = (_, done) => {
      open(this.#authority, this.#proxies).then((socket) => done!(null, tls.connect({ socket, servername: this.#authority.host, ALPNProtocols: ["http/1.1"] })), (error: Error) => done!(error, undefined as unknown as Duplex));
      return undefined as unknown as Duplex;
    };
    this.#inner = createServer({ requestTimeout: IDLE_MS, keepAliveTimeout: 60_000 }, (request, response) => {
      if (!this.#proxy.handle(request, response, { host: this.#host })) this.#handOn(request, response);
    });
  }

  connect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const target = parseAuthority(request.url);
    socket.on("error", () => socket.destroy());
    // Who comes from elsewhere must not use this as a way into the network.
    if (!isLoopback(request.socket.localAddress) && !this.#admits(request.headers["proxy-authorization"])) return refuse(socket, "407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="stowhouse"\r\n');
    if (!target) return refuse(socket, "400 Bad Request");
    if (target.host === this.#authority.host && target.port === this.#authority.port) return this.#terminate(socket as Socket, head);
    open(target, this.#proxies).then(
      (remote) => {
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        if (head.length > 0) remote.write(head);
        join(socket, remote);
      },
      (error: Error) => {
        console.log(`no tunnel to ${target.host}:${target.port}: ${error.message}`);
        refuse(socket, "502 Bad Gateway");
      },
    );
  }

  #terminate(socket: Socket, head: Buffer): void {
    socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
    if (head.length > 0) socket.unshift(head);
    const secure = new tls.TLSSocket(socket, { isServer: true, secureContext: this.#context, ALPNProtocols: ["http/1.1"] });
    // As from a tool that doesn't trust the job's authority.
    secure.on("error", () => socket.destroy());
    this.#inner.emit("connection", secure);
  }

  /** To the real host and back, as it is. */
  #handOn(request: IncomingMessage, response: ServerResponse): void {
    const { host, port } = this.#authority;
    const remote = https.request({ host, port, agent: this.#agent, method: request.method!, path: request.url!, headers: withoutExpect(request.rawHeaders), setHost: false });
    remote.on("response", (answer) => {
      response.writeHead(answer.statusCode!, answer.statusMessage!, answer.rawHeaders);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    remote.on("error", (error) => {
      console.log(`${request.method} on ${this.#host}: ${error.message}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(502, { "content-type": "application/json", connection: "close" }).end(JSON.stringify({ code: "unavailable", msg: `${this.#host} can't be reached` }));
    });
    response.on("error", () => {});
    response.on("close", () => remote.destroy());
    request.pipe(remote);
  }
}

/** The tool has been told to go on already. */
function withoutExpect(raw: readonly string[]): string[] {
  return raw.flatMap((name, i) => (i % 2 === 0 && name.toLowerCase() !== "expect" ? [name, raw[i + 1]!] : []));
}

function refuse(socket: Duplex, status: string, headers = ""): void {
  socket.end(`HTTP/1.1 ${status}\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`);
}

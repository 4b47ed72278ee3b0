import type { IncomingMessage, RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { errors } from "../core/errors.ts";

/** A port beside the server's own, at whose root is what lies below a path of the server. */
export interface Listener {
  readonly host: string;
  readonly port: number;
  /** `/nix/team`. */
  readonly mount: string;
  /** The field of the configuration that wants it, for errors. */
  readonly field: string;
}

/** How often connections that have become idle are closed at the end, ms. */
const SWEEP_MS = 50;

/**
 * More ports of the same server: same routes, credentials, limits, TLS, metrics and end. What is asked there is asked below
 * the port's mount, and nothing else is there. Connections are never upgraded.
 */
export class Listeners {
  readonly #wanted: Listener[] = [];
  readonly #servers: Server[] = [];
  #make: ((around: (inner: RequestListener) => RequestListener) => Server) | undefined;
  #ended: Promise<unknown> | undefined;

  /** @throws config where two want the same port */
  add(listener: Listener): void {
    const same = this.#wanted.find(({ host, port }) => port !== 0 && port === listener.port && host === listener.host);
    if (same) throw errors.config(`${listener.field}: ${listener.host}:${listener.port} is ${same.field}, too; each needs a port of its own`);
    this.#wanted.push(listener);
  }

  /** @param make makes a server like the main one, around its listener for requests */
  connect(make: (around: (inner: RequestListener) => RequestListener) => Server): void {
    this.#make = make;
  }

  /** Ports that are open, in the order in which they were added. */
  get addresses(): AddressInfo[] {
    return this.#servers.map((server) => server.address() as AddressInfo);
  }

  /** @throws config for a port that can't be had */
  async open(): Promise<void> {
    for (const { host, port, mount, field } of this.#wanted) {
      const server = this.#make!((inner) => (request, response) => {
        mountAt(request, mount);
        inner(request, response);
      });
      await new Promise<void>((resolve, reject) => {
        server.once("error", (cause: NodeJS.ErrnoException) => {
          const why = cause.code === "EADDRINUSE" ? "something listens there already" : (cause.code ?? "unknown error");
          reject(errors.config(`${field}: can't listen on ${host}:${port} (${why})`, { cause }));
        });
        server.listen({ host, port }, resolve);
      });
      this.#servers.push(server);
    }
  }

  /** Takes no more connections, and closes those that are idle or become so. */
  stop(): void {
    const sweep = setInterval(() => this.closeIdle(), SWEEP_MS).unref();
    const ends = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    this.#ended ??= Promise.all(ends).finally(() => clearInterval(sweep));
  }

  /** When no request runs any more. After `stop`. */
  async ended(): Promise<void> {
    await this.#ended;
  }

  async connections(): Promise<number> {
    const counts = this.#servers.map((server) => new Promise<number>((resolve) => server.getConnections((error, count) => resolve(error ? 0 : count))));
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  closeIdle(): void {
    for (const server of this.#servers) server.closeIdleConnections();
  }

  /** Breaks off what still runs. */
  cut(): void {
    for (const server of this.#servers) server.closeAllConnections();
  }
}

function mountAt(request: IncomingMessage, mount: string): void {
  request.url = mount + (request.url ?? "/");
}

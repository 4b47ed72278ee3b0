import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";

export interface Probes {
  readonly registry: Registry;
  /** Why the process should be started anew; undefined while all is well. */
  unhealthy(): string | undefined;
  /** Why it isn't ready; undefined when it is. */
  unready(): string | undefined;
}

export interface HealthServer {
  readonly port: number;
  close(): void;
}

/** Serves `/healthz`, `/readyz` and `/metrics`. */
export async function serveHealth(listen: { host?: string; port: number }, probes: Probes): Promise<HealthServer> {
  const verdict = (reason: string | undefined) => ({ status: reason === undefined ? 200 : 503, text: `${reason ?? "ok"}\n` });
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    const answer = ({ status, text }: { status: number; text: string }) => response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
    switch (request.url?.split("?")[0]) {
      case "/healthz":
        return void answer(verdict(probes.unhealthy()));
      case "/readyz":
        return void answer(verdict(probes.unready()));
      case "/metrics":
        return void probes.registry.metrics().then(
          (text) => response.writeHead(200, { "content-type": probes.registry.contentType }).end(text),
          (error: unknown) => answer({ status: 500, text: `${String(error)}\n` }),
        );
      default:
        return void answer({ status: 404, text: "There are /healthz, /readyz and /metrics.\n" });
    }
  });
  await new Promise<void>((done, failed) => server.once("error", failed).listen(listen, done));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

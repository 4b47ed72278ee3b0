import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { buildApp, type Stowhouse } from "./app.ts";
import type { Config } from "./config.ts";
import { firstKeys, KEYS_FILE, type FirstKeys } from "./first-keys.ts";

/** Clients of kept connections that have asked nothing for so long are idle, ms. */
const LINGER_MS = 500;
/** A drain that does not end must still end the process: so long after its time, ms. */
const PATIENCE_MS = 5_000;

export interface Running extends Stowhouse {
  /** What clients on this machine use. */
  readonly url: string;
}

/**
 * Starts a server: listens, repairs in the background, prints what a newcomer needs.
 * @param print for people, not for logs
 * @param how `repair: false` where another process of this server does it
 */
export async function serve(config: Config, print: (text: string) => void, how: { repair: boolean } = { repair: true }): Promise<Running> {
  mkdirSync(config.data, { recursive: true });
  const server = await buildApp(config);
  const { app, core, log } = server;
  let keys: FirstKeys | undefined;
  try {
    // Before anyone can ask: whoever sees the server ready finds the file.
    keys = await firstKeys(server, config);
    await app.listen({ host: config.listen.host, port: config.listen.port });
    await server.listeners.open();
  } catch (error) {
    await server.close();
    throw error;
  }
  const { port } = app.server.address() as AddressInfo;
  const host = config.listen.host === "0.0.0.0" || config.listen.host === "::" ? "127.0.0.1" : config.listen.host;
  const url = config.url ?? `${config.tls.cert ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const closeMetrics = config.metrics.listen ? await listenForMetrics(server, config.metrics.listen) : () => {};
  core.maintenance.start();
  const stopRepair = new AbortController();
  if (how.repair) {
    core.repair({ signal: stopRepair.signal }).then(
      (report) => log.info("repair finished", report),
      (error: unknown) => stopRepair.signal.aborted || log.error("repair failed; fsck runs it again", { cause: String(error) }),
    );
  }
  print(welcome(keys, config, url));
  const close = async () => {
    stopRepair.abort();
    closeMetrics();
    await server.close();
  };
  return { ...server, url, close };
}

/** The time (ms) after which a process that was told to stop is ended whatever it does. */
export function lastResort({ shutdown: { delay, drain } }: Config): number {
  return delay + drain + PATIENCE_MS;
}

/**
 * Ends a server gracefully: it says it is not ready and serves on until load balancers have noticed, finishes what runs, and
 * gives up after the drain time.
 */
export async function shutDown(server: Stowhouse, config: Config): Promise<void> {
  server.readiness.draining = true;
  await wait(config.shutdown.delay);
  // From here on every answer asks its client to close; a connection that is closed between two requests fails the second.
  if (config.shutdown.delay < LINGER_MS && (await connections(server)) > 0) await wait(LINGER_MS);
  const cut = () => {
    server.app.server.closeAllConnections();
    server.listeners.cut();
  };
  const limit = setTimeout(cut, config.shutdown.drain).unref();
  server.app.server.closeIdleConnections();
  server.listeners.closeIdle();
  await server.close();
  clearTimeout(limit);
}

async function connections({ app, listeners }: Stowhouse): Promise<number> {
  const own = await new Promise<number>((resolve) => app.server.getConnections((error, count) => resolve(error ? 0 : count)));
  return own + (await listeners.connections());
}

async function listenForMetrics(server: Stowhouse, address: { host: string; port: number }): Promise<() => void> {
  const { registry } = server.metrics;
  const metrics = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    if (request.url !== "/metrics") return void response.writeHead(404).end();
    server.metrics.text().then(
      (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((done, failed) => metrics.once("error", failed).listen(address.port, address.host, done));
  return () => {
    metrics.close();
    metrics.closeAllConnections();
  };
}

function welcome(keys: FirstKeys | undefined, config: Config, url: string): string {
  const file = resolve(config.data, KEYS_FILE);
  const write = keys?.write ?? "$STOWHOUSE_WRITE_KEY";
  return [
    `Stowhouse serves ${url}`,
    "",
    ...(keys
      ? [`  admin key  ${keys.admin}`, `  write key  ${keys.write}`, `  read key   ${keys.read}`, "", `They are shown this once and kept in ${file} (for you alone).`]
      : [config.auth.adminKey ? "Keys are set in the configuration." : `Keys were made at the first start: ${file}, or npx stowhouse key create.`]),
    "",
    "Point a tool at it:",
    `  GitHub Actions cache clients (sccache, BuildKit, @actions/cache):`,
    `    export ACTIONS_RESULTS_URL=${url}/ ACTIONS_CACHE_SERVICE_V2=true ACTIONS_RUNTIME_TOKEN=${write}`,
    `  nip:`,
    `    export NIP_REMOTE_CACHE_URL=${url} NIP_REMOTE_CACHE_API_KEY=${write} NIP_REMOTE_CACHE_ENABLED=true`,
    `  Go (1.24 or newer):`,
    `    export GOCACHEPROG="npx stowhouse gocacheprog" STOWHOUSE_SERVER=${url} STOWHOUSE_TOKEN=${write}`,
    `  look around:`,
    `    npx stowhouse stats`,
    "",
  ].join("\n");
}

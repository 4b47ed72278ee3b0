import type { Socket } from "node:net";
import { Budget } from "./budget.ts";
import { throughProxies } from "../client/exchange.ts";
import { Gate } from "./gate.ts";
import { Interceptor } from "./interceptor.ts";
import { Proxy } from "./proxy.ts";
import type { DaemonSettings, FromWorker, Identity, ToWorker } from "./settings.ts";
import { Tally } from "./tally.ts";
import { Upstream } from "./upstream.ts";

/** The process that serves the tools. Nothing it holds is needed by the next one, so it may die at any moment. */

const PROBE_MS = 500;
const REPORT_MS = 250;

let proxy: Proxy | undefined;
let upstreams: readonly Upstream[] = [];
const tally = new Tally();

process.on("message", (message: ToWorker, socket?: Socket) => {
  if (message.type === "settings") start(message.settings, message.identity);
  else if (message.type === "connection") {
    tell({ type: "took", id: message.id });
    // Undefined: the tool hung up on the way here.
    if (socket) proxy!.http.emit("connection", socket);
  } else if (message.type === "token") upstreams[message.server]?.renew(message.token);
  else void drain(message.ms);
});
// Without its parent it would be an orphan nobody can stop.
process.on("disconnect", () => process.exit(0));
process.on("unhandledRejection", (error) => console.error(error));

function start(settings: DaemonSettings, identity: Identity | undefined): void {
  const proxies = settings.upstreamProxy ?? {};
  throughProxies(proxies);
  const budget = new Budget();
  upstreams = settings.servers.map((server, index) => new Upstream(index, server, budget, {
    opened: (upstream, why) => {
      tally.breakerOpened++;
      console.log(`${new Date().toISOString()} ${upstream.url} is of no use: ${why}`);
    },
    closed: (upstream) => console.log(`${new Date().toISOString()} ${upstream.url} is well again`),
  }));
  const gate = new Gate(settings.secret, settings.intercept?.runtimeToken);
  proxy = new Proxy({ gate, upstreams, tally });
  if (settings.intercept && identity) {
    const interceptor = new Interceptor(proxy, identity, settings.intercept.host, proxies, (header) => gate.knows(header));
    proxy.http.on("connect", (request, socket, head) => interceptor.connect(request, socket, head));
  }
  setInterval(() => void Promise.all(upstreams.map((one) => one.probe())), PROBE_MS);
  let reported = tally.uses;
  setInterval(() => {
    if (tally.uses === reported) return;
    reported = tally.uses;
    tell({ type: "metrics", metrics: tally.metrics(0) });
  }, REPORT_MS);
  tell({ type: "ready" });
}

async function drain(_ms: number): Promise<void> {
  await Promise.resolve();
  tell({ type: "drained", metrics: tally.metrics(0) });
}

function tell(message: FromWorker): void {
  if (process.connected) process.send!(message);
}

import type { Socket } from "node:net";
import { throughProxies } from "../client/exchange.ts";
import { Behind } from "./behind.ts";
import { Budget } from "./budget.ts";
import type { Deferral, Deferring } from "./deferral.ts";
import { GithubUploads } from "./github-uploads.ts";
import { Gate } from "./gate.ts";
import { Interceptor } from "./interceptor.ts";
import { LegacyUploads } from "./legacy-uploads.ts";
import { Proxy } from "./proxy.ts";
import { Reservations } from "./reservations.ts";
import { SPOOL_BYTES, type DaemonSettings, type FromWorker, type Identity, type ToWorker } from "./settings.ts";
import { SingleUploads } from "./single-uploads.ts";
import { Spool } from "./spool.ts";
import { spoolOf } from "./state.ts";
import { Tally } from "./tally.ts";
import { Upstream } from "./upstream.ts";

/** The process that serves the tools. Nothing it holds is needed by the next one, so it may die at any moment. */

const PROBE_MS = 500;
const REPORT_MS = 250;

let proxy: Proxy | undefined;
let upstreams: readonly Upstream[] = [];
const tally = new Tally();
const behind = new Behind();

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
    refused: (upstream) => tell({ type: "refused", server: upstream.index }),
  }));
  const gate = new Gate(settings.secret, settings.intercept?.runtimeToken);
  const spoolBytes = settings.spoolBytes ?? SPOOL_BYTES;
  // A refusal must reach the tool that is refused.
  const deferring = settings.readOnly || spoolBytes === 0 ? undefined : { spool: new Spool(spoolOf(settings.stateDir), spoolBytes), behind, upstreams };
  proxy = new Proxy({ gate, upstreams, tally, deferrals: deferring ? deferralsOf(deferring) : [] });
  if (settings.intercept && identity) {
    const interceptor = new Interceptor(proxy, identity, settings.intercept.host, proxies, (header) => gate.knows(header));
    proxy.http.on("connect", (request, socket, head) => {
      tally.uses++;
      interceptor.connect(request, socket, head);
    });
  }
  setInterval(() => void Promise.all(upstreams.map((one) => one.probe())), PROBE_MS);
  let reported = "";
  setInterval(() => {
    const state = `${tally.uses} ${behind.unsentBytes}`;
    if (state === reported) return;
    reported = state;
    tell({ type: "metrics", metrics: tally.metrics(behind.unsentBytes) });
  }, REPORT_MS);
  tell({ type: "ready" });
}

function deferralsOf(deferring: Deferring): Deferral[] {
  const reservations = new Reservations(deferring);
  return [new GithubUploads(reservations), new LegacyUploads(reservations), new SingleUploads(deferring)];
}

async function drain(ms: number): Promise<void> {
  await behind.drain(ms);
  tell({ type: "drained", metrics: tally.metrics(behind.unsentBytes) });
}

function tell(message: FromWorker): void {
  if (process.connected) process.send!(message);
}

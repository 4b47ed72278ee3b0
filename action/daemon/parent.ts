import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import path from "node:path";
import { throughProxies } from "../client/exchange.ts";
import { issue } from "./authority.ts";
import { startControl } from "./control-server.ts";
import { Keeper } from "./keeper.ts";
import { push } from "./push.ts";
import { renewing, Renewals } from "./renewal.ts";
import { addMetrics, IDLE_MS, INTERCEPTED_HOST, noMetrics, type DaemonSettings } from "./settings.ts";
import { clearState, readState, writeState } from "./state.ts";

/**
 * The process that lives as long as the job: it owns the listening socket, so that no connection is refused while the worker
 * is replaced, and does as little as possible itself.
 */

/** What start.ts hears once the daemon serves. */
export type Started = { readonly url: string; readonly caFile?: string } | { readonly error: string };

const CHECK_MS = 5_000;

process.once("message", (settings: DaemonSettings) => {
  run(settings).then(
    (started) => process.send!(started, () => process.disconnect()),
    (error: Error) => process.send!({ error: error.message }, () => process.exit(1)),
  );
});
// Whatever goes wrong here, the tools' connections are worth more.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));

async function run({ renewal, ...settings }: DaemonSettings): Promise<Started> {
  throughProxies(settings.upstreamProxy ?? {});
  const host = settings.intercept && (settings.intercept.host ?? INTERCEPTED_HOST);
  const issued = host === undefined ? undefined : issue(host.replace(/:\d+$/, ""));
  const caFile = path.join(settings.stateDir, "ca.pem");
  if (issued) writeFileSync(caFile, issued.authority + certificates(settings.intercept!.extraCaFile), { mode: 0o644 });

  const keeper = new Keeper(settings, issued?.identity, (server) => renewals?.refused(server));
  const renewals = renewal && new Renewals(settings.servers, renewing(renewal), (server, token) => keeper.renew(server, token));
  const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => keeper.give(socket));
  await listen(server, settings.listen ?? "127.0.0.1:0");
  const secret = randomBytes(32).toString("base64url");
  const control = await startControl(secret, {
    metrics: () => keeper.metrics,
    renew: (token, url) => {
      keeper.lastUse = Date.now();
      const index = url === undefined ? 0 : settings.servers.findIndex((one) => one.url === url);
      if (index < 0) return false;
      keeper.renew(index, token);
      return true;
    },
    stop: async (drainMs, also) => {
      server.close();
      const metrics = addMetrics(await keeper.stop(drainMs), { ...noMetrics(), perProtocol: [...also] });
      renewals?.end();
      clearState(settings.stateDir);
      if (settings.push) await push(settings.push, metrics);
      setTimeout(() => process.exit(0), 50);
      return metrics;
    },
  });
  writeState(settings.stateDir, { pid: process.pid, control, secret });
  // A job that never comes to its post step must not leave a process behind; nor one whose temporary files were swept away.
  const idleMs = settings.idleMs ?? IDLE_MS;
  setInterval(() => {
    if (Date.now() - keeper.lastUse > idleMs || !readState(settings.stateDir)) void keeper.stop(0).finally(() => {
      clearState(settings.stateDir);
      process.exit(0);
    });
  }, Math.min(idleMs / 4, CHECK_MS));

  const { address, port } = server.address() as AddressInfo;
  // Whoever listens on every address is reached by the runner itself over loopback.
  const shown = address === "0.0.0.0" || address === "::" ? "127.0.0.1" : address.includes(":") ? `[${address}]` : address;
  return { url: `http://${shown}:${port}`, ...(issued && { caFile }) };
}

/** What a job trusts besides; a file that can't be read was of no use to it before. */
function certificates(file: string | undefined): string {
  try {
    return file ? readFileSync(file, "utf8") : "";
  } catch {
    return "";
  }
}

function listen(server: Server, where: string): Promise<void> {
  const [, host, port] = /^(?:\[?([^\]]*?)\]?:)?(\d+)$/.exec(where) ?? [];
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: host || "127.0.0.1", port: Number(port ?? 0) }, () => resolve());
  });
}

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { KubeConfig } from "@kubernetes/client-node";
import { Command, InvalidArgumentError, Option } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { cacheKeyReconciler } from "./cachekey/reconcile.ts";
import { cacheServerReconciler } from "./cacheserver/reconcile.ts";
import { serveHealth } from "./health.ts";
import { connector } from "./kubeconfig.ts";
import { LEVELS, Log, type Level } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { startOperator } from "./operator.ts";

/** Where a pod finds the namespace it runs in. */
const NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/** A stop that doesn't end must still end the process, ms. */
const LAST_RESORT_MS = 10_000;

interface Flags {
  namespace: string[];
  leaseNamespace?: string;
  leaseName: string;
  metricsListen: { host?: string; port: number };
  logLevel: Level;
  serverImage: string;
  clusterDomain: string;
  concurrency: number;
  kubeconfig?: string;
  context?: string;
}

const program = new Command("stowhouse-operator")
  .description("Looks after the CacheServers and CacheKeys (stowhouse.dev/v1alpha1) of a Kubernetes cluster.")
  .version(packageJson.version)
  .addOption(option("-n, --namespace <name>", "look after this namespace only; may be repeated, or a list with commas", "NAMESPACES").argParser(several).default([], "the whole cluster"))
  .addOption(option("--lease-namespace <name>", "where the lease is that decides which operator works (default: the pod's namespace)", "LEASE_NAMESPACE"))
  .addOption(option("--lease-name <name>", "name of that lease; operators that look after different namespaces need different ones", "LEASE_NAME").default("stowhouse-operator"))
  .addOption(option("--metrics-listen <[host]:port>", "where /metrics, /healthz and /readyz are served", "METRICS_LISTEN").argParser(address).default({ port: 8080 }, ":8080"))
  .addOption(option("--log-level <level>", "least severity that is written", "LOG_LEVEL").choices(LEVELS).default("info"))
  .addOption(option("--server-image <image>", "image of servers whose CacheServer names none", "SERVER_IMAGE").default(`ghcr.io/stowhouse/stowhouse:${packageJson.version}`))
  .addOption(option("--cluster-domain <domain>", "suffix of the names of Services", "CLUSTER_DOMAIN").default("cluster.local"))
  .addOption(option("--concurrency <n>", "resources of a kind that are worked on at once", "CONCURRENCY").argParser(count).default(4))
  .addOption(option("--kubeconfig <file>", "how to reach the cluster (default: the pod's service account; outside of a cluster $KUBECONFIG or ~/.kube/config)", "KUBECONFIG"))
  .addOption(option("--context <name>", "context of the kubeconfig (default: its current one)", "CONTEXT"))
  .addHelpText("after", "\nThe name of its pod (POD_NAME, else the host's name) tells operators apart.\nSIGTERM gives the lease back, so that another operator takes over within two seconds.")
  .showHelpAfterError()
  .action(run);

async function run(flags: Flags): Promise<void> {
  const log = new Log(flags.logLevel, (line) => process.stdout.write(line));
  // A kubeconfig that can't be read is told at once, not retried for ever.
  load(flags);
  const metrics = new Metrics(packageJson.version);
  const operator = startOperator({
    connect: connector(() => load(flags)),
    namespaces: [...new Set(flags.namespace)],
    lease: { namespace: flags.leaseNamespace ?? ownNamespace(), name: flags.leaseName },
    identity: `${process.env["POD_NAME"] ?? hostname()}_${randomBytes(4).toString("hex")}`,
    settings: { serverImage: flags.serverImage, version: packageJson.version, clusterDomain: flags.clusterDomain },
    reconcilers: { cacheserver: cacheServerReconciler, cachekey: cacheKeyReconciler },
    concurrency: flags.concurrency,
    metrics,
    log,
  });
  const health = await serveHealth(flags.metricsListen, operator);
  log.info("operator started", { version: packageJson.version, namespaces: flags.namespace, metrics_port: health.port });
  let stopping = false;
  const stop = () => {
    // Who sends a second signal does not want to wait.
    if (stopping) process.exit(1);
    stopping = true;
    setTimeout(() => process.exit(1), LAST_RESORT_MS).unref();
    void operator.stop().then(() => {
      health.close();
      process.exit(0);
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

function load({ kubeconfig, context }: Flags): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
  else config.loadFromDefault();
  if (context !== undefined) config.setCurrentContext(context);
  return config;
}

function ownNamespace(): string {
  try {
    return readFileSync(NAMESPACE_FILE, "utf8").trim();
  } catch {
    return program.error("error: not in a pod; say with --lease-namespace where the lease is");
  }
}

function option(flags: string, description: string, name: string): Option {
  return new Option(flags, description).env(`STOWHOUSE_OPERATOR_${name}`);
}

function several(value: string, before: string[]): string[] {
  return [...before, ...value.split(",").map((name) => name.trim()).filter((name) => name !== "")];
}

function address(value: string): { host?: string; port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(value);
  const port = Number(found?.[3]);
  if (found === null || port > 65_535) throw new InvalidArgumentError("Expected host:port or :port, e.g. :8080.");
  const host = found[1] ?? found[2];
  return host ? { host, port } : { port };
}

function count(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 64) throw new InvalidArgumentError("Expected a number from 1 to 64.");
  return number;
}

try {
  await program.parseAsync();
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") console.error(`${message}: another process listens there. Choose another address with --metrics-listen.`);
  else if (code === "ENOENT") console.error(`${message}. Name a kubeconfig that exists with --kubeconfig.`);
  else console.error(error);
  process.exit(1);
}

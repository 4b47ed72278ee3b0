import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildOperator } from "../../operator/build.mjs";
import { freePort } from "../fixtures/tools.ts";
import { request } from "./cluster.ts";
import { installChart } from "./helm.ts";
import { auditLog } from "./rig/control-plane.ts";
import { configOf } from "./rig/image.ts";
import { SERVER_IMAGE } from "./rig/images.ts";
import { kubeconfig, NODE, pki } from "./rig/pki.ts";
import { rigHome, until } from "./rig/processes.ts";

const root = path.resolve(import.meta.dirname, "../..");

/** An operator that runs as a process of the test, to be killed as it likes; with the rights the chart gives, and no others. */
export interface Operator {
  readonly child: ChildProcess;
  readonly name: string;
  /** From its start to its first answer, ms. */
  readonly startMs: number;
  /** One of its metrics: the sum of the series whose labels contain `labels`. */
  metric(name: string, labels?: string): Promise<number>;
  /** Whether it holds the lease. */
  leads(): Promise<boolean>;
  said(): string;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** The chart's roles and service account without its pods. Returns the service account's name. */
export async function installRights(namespace: string, values: Record<string, unknown> = {}): Promise<string> {
  await installChart("stowhouse-operator", "operator", namespace, { replicaCount: 0, fullnameOverride: `operator-${namespace}`, ...values });
  return `operator-${namespace}`;
}

/** A token of a service account, as its pods get it. @param seconds at least ten minutes */
export async function tokenFor(namespace: string, account: string, seconds = 3600): Promise<string> {
  const answer = await request("POST", `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: seconds } });
  return answer["status"].token as string;
}

/** Where a pod finds its credential; the rig's processes have a /run of their own. */
const IN_POD = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Puts a token where pods have theirs. */
export function mountToken(namespace: string, token: string): void {
  mkdirSync(IN_POD, { recursive: true });
  cpSync(pki("ca.crt"), path.join(IN_POD, "ca.crt"));
  writeFileSync(path.join(IN_POD, "namespace"), namespace);
  writeFileSync(path.join(IN_POD, "token"), token);
}

/** What its image runs. */
async function program(): Promise<string[]> {
  const folder = path.join(rigHome(), "operator");
  if (!existsSync(folder)) await buildOperator(folder);
  const flags = configOf(path.join(root, "operator", "Dockerfile")).Entrypoint.slice(1, -1);
  return [...flags, path.join(folder, "operator.mjs")];
}

/** @param user its credential, fields of a kubeconfig's user; undefined: what `mountToken` put down, as in a pod @param namespaces those it looks after; none: all */
export async function startOperator(name: string, user: object | undefined, { namespaces, leaseNamespace }: { namespaces: readonly string[]; leaseNamespace: string }): Promise<Operator> {
  const port = await freePort();
  const args = [
    ...(await program()), ...(user === undefined ? [] : ["--kubeconfig", kubeconfig(name, user)]), "--lease-namespace", leaseNamespace, "--metrics-listen", `127.0.0.1:${port}`, "--server-image", SERVER_IMAGE,
    ...namespaces.flatMap((namespace) => ["--namespace", namespace]),
  ];
  const began = performance.now();
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, POD_NAME: name, HOME: rigHome(), ...(user === undefined ? { KUBERNETES_SERVICE_HOST: NODE, KUBERNETES_SERVICE_PORT: "6443" } : {}) } });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text = (text + chunk.toString()).slice(-200_000)));
  const exited = once(child, "exit");
  const takeAlong = () => child.kill("SIGKILL");
  process.once("exit", takeAlong);
  const read = async () => (await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(5000) })).text();
  const metric: Operator["metric"] = async (series, labels = "") => {
    const lines = (await read()).split("\n").filter((line) => line.startsWith(`${series}{`) || line.startsWith(`${series} `));
    return lines.filter((line) => line.includes(labels)).reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  const operator = {
    child, name, metric,
    leads: async () => (await metric("stowhouse_operator_leader")) === 1,
    said: () => text,
    kill: async (signal: NodeJS.Signals = "SIGKILL") => {
      process.off("exit", takeAlong);
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await exited;
    },
  };
  await until(`operator ${name} answers`, 30, () => read().then(() => true), () => text).catch(async (error: unknown) => {
    await operator.kill();
    throw error;
  });
  return { ...operator, startMs: performance.now() - began };
}

/** A request to the API server, as its audit log has it. */
export interface Audited {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly namespace?: string; readonly name?: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number };
  readonly requestReceivedTimestamp: string;
}

const WRITES = new Set(["create", "update", "patch", "delete", "deletecollection"]);
export const isWrite = ({ verb }: Audited): boolean => WRITES.has(verb);

/** Everything a user asks of the API server from now on. */
export function listen(username: string): () => Audited[] {
  const from = existsSync(auditLog()) ? statSync(auditLog()).size : 0;
  return () => {
    const lines = readFileSync(auditLog()).subarray(from).toString("utf8").split("\n");
    return lines.filter((line) => line.includes(username)).map((line) => JSON.parse(line) as Audited).filter(({ user }) => user.username === username);
  };
}

/** How often each call was made, for people: `patch cacheservers/status 3`. */
export function tally(calls: readonly Audited[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verb, objectRef } of calls) {
    const name = `${verb} ${objectRef?.resource ?? "?"}${objectRef?.subresource === undefined ? "" : `/${objectRef.subresource}`}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

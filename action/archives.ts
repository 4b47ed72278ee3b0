import { createHash } from "node:crypto";
import { relative, resolve } from "node:path";
import type { Connection, Progress } from "./client/archive.ts";
import type { ProtocolMetrics } from "./daemon/control.ts";
import type { Rights } from "./event.ts";
import type { ArchiveInputs, TransferInputs } from "./inputs.ts";
import { noteCost } from "./memory.ts";
import type { Parts } from "./parts.ts";
import { bytes, rate, time } from "./text.ts";
import type { Step } from "./toolkit.ts";

/** The cache a step works with. */
export interface Access {
  /** By priority; none: no server is of use. */
  readonly connections: readonly Connection[];
  readonly rights: Rights;
  /** Why, when something is not possible. */
  readonly reason: string;
  /** Whether GitHub's cache may stand in for a server that is not there. */
  readonly alone: boolean;
  readonly stateDir: string;
  /** What a failure that cost time is remembered by (memory.ts). */
  readonly name: string;
}

/** What became of a restore or a save, for outputs, the summary and the post step. */
export interface Transfer {
  readonly op: "restore" | "save";
  readonly status: "hit" | "miss" | "saved" | "exists" | "denied" | "unavailable" | "skipped";
  readonly via: "stowhouse" | "github" | "none";
  readonly key: string;
  readonly matchedKey?: string | undefined;
  /** Over the network, and of all files. */
  readonly moved: number;
  readonly total: number;
  readonly files: number;
  readonly ms: number;
  readonly unchanged?: boolean;
  readonly reason?: string | undefined;
}

/** A server that failed this fast may be followed by the next: all together cost no more than 5 s. ms */
const SPARE = 2_600;
/** How often progress is logged, ms. */
const PROGRESS = 10_000;

/** What transfers add to the metrics of a job's daemon, which has not seen them: they went straight to the server. */
export function metricsOf(transfers: readonly Transfer[]): ProtocolMetrics[] {
  return transfers.filter(({ via, status }) => via === "stowhouse" || (via === "none" && status === "unavailable")).map(({ op, status, moved, ms }) => ({
    protocol: "archive", hits: Number(status === "hit"), misses: Number(status === "miss"), stored: Number(status === "saved"), failed: Number(status === "unavailable"),
    bytesIn: op === "restore" ? moved : 0, bytesOut: op === "save" ? moved : 0, msWaited: Math.round(ms),
  }));
}

/** Paths and platform by their hash, as actions/cache: what was saved with other paths can't be restored here. */
export function versionOf(paths: readonly string[], crossOs: boolean, platform: NodeJS.Platform): string {
  const parts = ["stowhouse-archive-1", ...paths, ...(platform === "win32" && !crossOs ? ["windows-only"] : [])];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** Whether a hit is for the key itself; case makes no difference, as in actions/cache. */
export function isExact(key: string, matched: string | undefined): boolean {
  return matched !== undefined && matched.localeCompare(key, undefined, { sensitivity: "accent" }) === 0;
}

/** Restores from Stowhouse or, when no server answers, from GitHub's cache. Never rejects. */
export async function restore(step: Step, parts: Parts, access: Access, inputs: ArchiveInputs & TransferInputs): Promise<Transfer> {
  const began = performance.now();
  const base = { op: "restore", key: inputs.key, moved: 0, total: 0, files: 0 } as const;
  const ended = () => ({ ms: performance.now() - began });
  if (access.connections.length > 0 ? !access.rights.read : !access.alone) return { ...base, ...ended(), status: "skipped", via: "none", reason: access.reason };
  let reason = access.reason;
  if (access.connections.length > 0) {
    const options = { ...shared(step, access, inputs, "Restoring"), paths: inputs.paths.filter((path) => !path.startsWith("!")), restoreKeys: inputs.restoreKeys, lookupOnly: inputs.lookupOnly };
    // What the first server lacks the next may have.
    const result = await firstOf(access.connections, began, (connection) => parts.restoreArchive(connection, options), ({ status: one }) => one === "hit", ({ status: one }) => one === "miss");
    const { status, matchedKey, bytes: moved, files } = result;
    if (status === "unavailable") noteCost(access, performance.now() - began);
    else return { ...base, ...ended(), status, via: "stowhouse", matchedKey, moved, total: moved, files };
    reason = result.reason ?? "the server did not answer as it should";
    step.toolkit.warning(`Stowhouse could not restore: ${reason}. The job goes on without.`);
  }
  const hit = await fromGithub(step, parts, inputs, "restore", (cache) => cache.restoreCache([...inputs.paths], inputs.key, [...inputs.restoreKeys], { lookupOnly: inputs.lookupOnly }, inputs.crossOs));
  if (hit === undefined) return { ...base, ...ended(), status: "unavailable", via: "none", reason };
  return { ...base, ...ended(), status: hit.value === undefined ? "miss" : "hit", via: "github", matchedKey: hit.value, reason };
}

/** Saves to Stowhouse or, when no server answers, to GitHub's cache. Never rejects. */
export async function save(step: Step, parts: Parts, access: Access, inputs: ArchiveInputs & TransferInputs): Promise<Transfer> {
  const began = performance.now();
  const base = { op: "save", key: inputs.key, moved: 0, total: 0, files: 0 } as const;
  const ended = () => ({ ms: performance.now() - began });
  if (access.connections.length > 0 ? !access.rights.write : !access.alone) return { ...base, ...ended(), status: "denied", via: "none", reason: access.reason };
  let reason = access.reason;
  if (access.connections.length > 0) {
    let paths: string[];
    try {
      paths = await parts.expand(inputs.paths);
      if (paths.length === 0) throw new Error("Path Validation Error: Path(s) specified in the action for caching do(es) not exist, hence no cache is being saved.");
    } catch (error) {
      return { ...base, ...ended(), status: "skipped", via: "none", reason: (error as Error).message };
    }
    const options = { ...shared(step, access, inputs, "Saving"), paths: paths.map((path) => relative(resolve(workspace(step)), path) || ".") };
    const result = await firstOf(access.connections, began, (connection) => parts.saveArchive(connection, options), ({ status: one }) => one !== "unavailable");
    const { status, bytesSent: moved, bytesTotal: total, files, unchanged } = result;
    if (status === "unavailable") noteCost(access, performance.now() - began);
    else return { ...base, ...ended(), status, via: "stowhouse", moved, total, files, unchanged, reason: result.reason };
    reason = result.reason ?? "the server did not answer as it should";
    step.toolkit.warning(`Stowhouse could not save: ${reason}. The job goes on without.`);
  }
  const saved = await fromGithub(step, parts, inputs, "save", (cache) => cache.saveCache([...inputs.paths], inputs.key, {}, inputs.crossOs));
  if (saved === undefined) return { ...base, ...ended(), status: "unavailable", via: "none", reason };
  return { ...base, ...ended(), status: saved.value === -1 ? "exists" : "saved", via: "github", reason };
}

/** What the first server says that settles it; else what one says that will do; else why the last failed. */
async function firstOf<T>(connections: readonly Connection[], began: number, ask: (connection: Connection) => Promise<T>, settles: (result: T) => boolean, willDo: (result: T) => boolean = () => false): Promise<T> {
  let best: T | undefined;
  let last: T | undefined;
  for (const connection of connections) {
    last = await ask(connection);
    if (settles(last)) return last;
    if (willDo(last)) best ??= last;
    if (performance.now() - began > SPARE) break;
  }
  return (best ?? last)!;
}

function shared(step: Step, access: Access, inputs: ArchiveInputs & TransferInputs, doing: string) {
  const { paths, crossOs, key, timeout, concurrency } = inputs;
  return {
    key, version: versionOf(paths, crossOs, step.platform), root: workspace(step), stateDir: access.stateDir, deadlineMs: timeout,
    ...(concurrency === undefined ? {} : { concurrency }), onProgress: logged(step, doing),
  };
}

function workspace({ env }: Step): string {
  return env["GITHUB_WORKSPACE"] ?? resolve(".");
}

/** A line every now and then, so that a long transfer is seen to move. */
export function logged({ toolkit }: Pick<Step, "toolkit">, doing: string): (progress: Progress) => void {
  let next = PROGRESS;
  return ({ bytes: done, total, transferred, elapsed }) => {
    if (elapsed < next) return;
    next = elapsed + PROGRESS;
    const left = done > 0 && total > done ? `, ${time((elapsed / done) * (total - done))} left` : "";
    const part = total > 0 ? ` of ${bytes(total)} (${Math.floor((done / total) * 100)} %)` : "";
    toolkit.info(`${doing}: ${bytes(done)}${part}, ${bytes(transferred)} over the network at ${rate(transferred, elapsed)}${left}`);
  };
}

/** Undefined when GitHub's cache isn't wanted, isn't there, or failed. */
async function fromGithub<T>({ toolkit, env }: Step, parts: Parts, { fallback, timeout }: TransferInputs, doing: string, use: (cache: Awaited<ReturnType<Parts["githubCache"]>>) => Promise<T>): Promise<{ value: T } | undefined> {
  // Behind the daemon's interception GitHub's cache is Stowhouse again.
  if (fallback === "none" || !env["ACTIONS_RUNTIME_TOKEN"] || env["STOWHOUSE_INTERCEPTS"]) return undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const cache = await parts.githubCache();
    if (!cache.isFeatureAvailable()) return undefined;
    toolkit.info(`No Stowhouse server answers: ${doing} goes to GitHub's cache`);
    const late = new Promise<never>((_, reject) => { timer = setTimeout(() => reject(new Error("it took longer than allowed")), timeout); });
    return { value: await Promise.race([use(cache), late]) };
  } catch (error) {
    toolkit.warning(`GitHub's cache could not ${doing}: ${(error as Error).message}`);
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

import type { Applicant, Kind } from "../session.ts";

/** What a daemon is started with. It reaches the processes through pipes, never through arguments, environment or disk. */
export interface DaemonSettings {
  /** By priority. A URL may end in a path prefix such as `/c/team`. */
  readonly servers: readonly ServerSettings[];
  /** The job's credentials, by which sessions are renewed; they don't leave the parent process. */
  readonly renewal?: Applicant;
  /** A directory of the job's own (below RUNNER_TEMP): state file, certificate, spool. */
  readonly stateDir: string;
  /** What tools of this job show instead of a credential; random, at least 16 characters of [A-Za-z0-9_-]. */
  readonly secret: string;
  /** `host:port`; default 127.0.0.1 and any port. On any other address only the path secret counts. */
  readonly listen?: string;
  /** Nothing may be stored; uploads are then never deferred, so that the tool hears the server's refusal. */
  readonly readOnly: boolean;
  readonly logFile: string;
  readonly intercept?: InterceptSettings;
  /** The proxy settings the job had before. */
  readonly upstreamProxy?: ProxySettings;
  /** Bytes of uploads that may wait on disk; what exceeds them goes straight to the server. Default 2 GiB, 0: nothing is deferred. */
  readonly spoolBytes?: number;
  /** A daemon nobody used for so long ends, ms. Default 6 h. */
  readonly idleMs?: number;
  readonly push?: PushSettings;
}

export interface ServerSettings {
  readonly url: string;
  readonly token?: string | undefined;
  /** Of a token that is to be renewed: the credential it was given for, and when it ends (ms). */
  readonly session?: { readonly kind: Kind; readonly expires: number };
}

export interface InterceptSettings {
  /** The job's own ACTIONS_RUNTIME_TOKEN: what intercepted requests are known by. */
  readonly runtimeToken: string;
  /** `host` or `host:port`; default results-receiver.actions.githubusercontent.com. */
  readonly host?: string;
  /** The job's NODE_EXTRA_CA_CERTS so far: the daemon's file takes its place, so it must hold these certificates as well. */
  readonly extraCaFile?: string | undefined;
}

/** As in the variables of these names. */
export interface ProxySettings {
  readonly httpProxy?: string | undefined;
  readonly httpsProxy?: string | undefined;
  readonly noProxy?: string | undefined;
}

/** Where the job's metrics go at its end: a Pushgateway (`…/metrics/job/x`) or VictoriaMetrics (`…/api/v1/import/prometheus`). */
export interface PushSettings {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export const INTERCEPTED_HOST = "results-receiver.actions.githubusercontent.com";
export const SPOOL_BYTES = 2 * 1024 ** 3;
export const IDLE_MS = 6 * 60 * 60_000;

/** What one protocol did in this job. */
export interface ProtocolMetrics {
  readonly protocol: string;
  hits: number;
  misses: number;
  stored: number;
  /** Requests no server answered as it should. */
  failed: number;
  /** Bytes of bodies from servers to tools, and from tools to servers. */
  bytesIn: number;
  bytesOut: number;
  /** How long tools waited for answers, all added up. */
  msWaited: number;
}

export interface JobMetrics {
  readonly perProtocol: ProtocolMetrics[];
  /** How often a server was found dead or sick. */
  breakerOpened: number;
  /** Bytes of uploads that were taken from tools and never reached a server. */
  unsentBytes: number;
  /** How often the worker had to be started again. */
  restarts: number;
}

export function noMetrics(): JobMetrics {
  return { perProtocol: [], breakerOpened: 0, unsentBytes: 0, restarts: 0 };
}

/** The sum of what several workers did. */
export function addMetrics(one: JobMetrics, other: JobMetrics): JobMetrics {
  const sum = new Map<string, ProtocolMetrics>();
  for (const row of [...one.perProtocol, ...other.perProtocol]) {
    const known = sum.get(row.protocol);
    if (!known) sum.set(row.protocol, { ...row });
    else for (const name of ["hits", "misses", "stored", "failed", "bytesIn", "bytesOut", "msWaited"] as const) known[name] += row[name];
  }
  return {
    perProtocol: [...sum.values()], breakerOpened: one.breakerOpened + other.breakerOpened,
    unsentBytes: one.unsentBytes + other.unsentBytes, restarts: one.restarts + other.restarts,
  };
}

/** A certificate for the intercepted host, both in PEM. */
export interface Identity {
  readonly key: string;
  readonly certificate: string;
}

/** Parent → worker. Connections come as `connection` with the socket. */
export type ToWorker =
  | { readonly type: "settings"; readonly settings: DaemonSettings; readonly identity: Identity | undefined }
  | { readonly type: "connection"; readonly id: number }
  | { readonly type: "token"; readonly server: number; readonly token: string }
  | { readonly type: "drain"; readonly ms: number };

/** Worker → parent. Its metrics are those since its own start. */
export type FromWorker =
  | { readonly type: "ready" }
  | { readonly type: "took"; readonly id: number }
  | { readonly type: "refused"; readonly server: number }
  | { readonly type: "metrics"; readonly metrics: JobMetrics }
  | { readonly type: "drained"; readonly metrics: JobMetrics };

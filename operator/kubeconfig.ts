import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent, type AgentOptions, type RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Connect, Connection } from "./transport.ts";

/** How long files with certificates and tokens are taken to be as they were read. */
const REREAD_MS = 10_000;
/** An idle connection is closed before the API server closes it (90 s). */
const IDLE_MS = 60_000;

interface Current {
  readonly connection: Connection;
  /** Everything the agent was built from. */
  readonly identity: string;
  readonly readAt: number;
}

/**
 * Connections as a kubeconfig (or the pod's service account) describes them: one agent keeps its connections alive, because
 * a TLS handshake for each request costs more than all else, and is replaced when a certificate was.
 * @param load reads the kubeconfig and the files it names
 */
export function connector(load: () => KubeConfig): Connect {
  let config: KubeConfig | undefined;
  let current: Current | undefined;
  const renew = async (fresh: boolean): Promise<Current> => {
    // A KubeConfig keeps tokens for a minute, whatever their file says by now.
    if (fresh || config === undefined) config = load();
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig has no current context; choose one with `kubectl config use-context`");
    const { ca, cert, key, passphrase, pfx, rejectUnauthorized, servername } = options;
    const trust = Object.fromEntries(Object.entries({ ca, cert, key, passphrase, pfx, rejectUnauthorized, servername }).filter(([, value]) => value !== undefined));
    const identity = JSON.stringify([cluster.server, cluster.proxyUrl, Object.entries(trust).map(([field, value]) => [field, String(value)])]);
    // A KubeConfig keeps its agents for a proxy, too, whatever the certificates are by now.
    if (!fresh && current !== undefined && current.identity !== identity && cluster.proxyUrl) return renew(true);
    const same = current?.identity === identity ? current.connection.agent : undefined;
    // The old agent isn't destroyed: what runs over it may finish, and its idle connections end by themselves.
    const agent = same ?? (cluster.proxyUrl ? (options.agent as HttpAgent) : keptAlive(cluster.server, trust));
    const basic = options.auth ? { authorization: `Basic ${Buffer.from(options.auth).toString("base64")}` } : {};
    const headers = { ...basic, ...(options.headers as Record<string, string>) };
    return { connection: { url: new URL(cluster.server), agent, headers }, identity, readAt: performance.now() };
  };
  return async (fresh = false) => {
    if (fresh || current === undefined || performance.now() - current.readAt > REREAD_MS) current = await renew(fresh);
    return current.connection;
  };
}

function keptAlive(server: string, trust: AgentOptions): HttpAgent {
  const options: AgentOptions = { ...trust, keepAlive: true, keepAliveMsecs: 30_000, maxFreeSockets: 8, timeout: IDLE_MS, scheduling: "lifo" };
  return server.startsWith("https:") ? new HttpsAgent(options) : new HttpAgent(options);
}

import type { CacheServer } from "../cacheserver/schema.ts";

/** A port the pods listen on, by the name that Services, probes and policies know it by. */
export interface Port {
  readonly name: string;
  readonly port: number;
}

export const HTTP: Port = { name: "http", port: 8420 };
/** Metrics have no credential, so they have a port that no Service for clients carries. */
export const METRICS: Port = { name: "metrics", port: 9420 };

/** Listeners of protocols that don't speak HTTP, by protocol. All that the server speaks today share the HTTP port. */
const LISTENERS: Readonly<Record<string, readonly Port[]>> = {};

/** What clients connect to: HTTP, and the listeners of the protocols that are on. */
export function clientPorts(server: CacheServer, listeners = LISTENERS): Port[] {
  const own = Object.entries(server.spec.protocols).flatMap(([name, { enabled }]) => (enabled ? (listeners[name] ?? []) : []));
  return [HTTP, ...own];
}

/** All that the pods listen on. */
export function podPorts(server: CacheServer): Port[] {
  return [...clientPorts(server), METRICS];
}

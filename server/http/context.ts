import type { IncomingMessage, ServerResponse } from "node:http";
import type { Grant } from "../core/grant.ts";
import type { Credential } from "../identity/credential.ts";

/** How an operation counts in the statistics: a look-up, a download, both at once, an upload, or nothing of these. */
export type OperationKind = "lookup" | "download" | "get" | "upload" | "other";

export type Result = "ok" | "hit" | "miss" | "stored" | "exists" | "denied" | "invalid" | "refused" | "aborted" | "error";

/** Settings of a route, given as Fastify's `config`. */
export interface RouteConfig {
  /** Label of the protocol; set for every route of a protocol's plugin. */
  readonly protocol?: string;
  /** Label of its metrics. */
  readonly op: string;
  readonly kind?: OperationKind;
  /** The keyspace it counts for. */
  readonly keyspace?: string;
  /** `key` (default): an Authorization header, or anonymous where a cache allows it. `none`: open. `signed`: the handler checks the URL's signature. */
  readonly auth?: "key" | "none" | "signed";
}

/** What is known of a request while it runs, and what its accounting needs at the end. */
export class RequestContext {
  readonly started = performance.now();
  readonly address: string;
  /** The cache named in the path (`/c/{cache}`), if any. */
  readonly cacheName: string | undefined;
  readonly response: ServerResponse;
  protocol = "server";
  config: RouteConfig = OPEN;
  credential: Credential | undefined;
  /** The credential's rights in the cache that is meant; undefined where it has none. */
  grant: Grant | undefined;
  /** When the credential ends, ms. */
  until = Infinity;
  /** The epoch of credentials and caches its rights were found in. */
  epoch = 0;
  actor = "";
  cache = "";
  result: Result = "ok";
  bytesIn = 0;
  bytesOut = 0;

  constructor(address: string, cacheName: string | undefined, response: ServerResponse) {
    this.response = response;
    this.address = address;
    this.cacheName = cacheName;
  }
}

const OPEN: RouteConfig = { op: "other", auth: "none" };

declare module "fastify" {
  interface FastifyRequest {
    stow: RequestContext;
  }
  interface FastifyContextConfig {
    op?: string;
    protocol?: string;
    kind?: OperationKind;
    keyspace?: string;
    auth?: "key" | "none" | "signed";
  }
}

const PREFIX = /^\/c\/([a-z0-9][a-z0-9-]{0,62})(\/.*)$/;
const chosen = new WeakMap<IncomingMessage, string>();

/** Takes `/c/{cache}` off a path and remembers the cache: the prefix is valid before every protocol's mount. */
export function stripCachePrefix(request: IncomingMessage): string {
  const url = request.url ?? "/";
  if (!url.startsWith("/c/")) return url;
  const match = PREFIX.exec(url);
  if (!match) return url;
  chosen.set(request, match[1]!);
  return match[2]!;
}

export function cachePrefix(request: IncomingMessage): string | undefined {
  return chosen.get(request);
}

import { DURATION } from "../../server/config/units.ts";
import type { AccessRule, CacheServer } from "../cacheserver/schema.ts";
import type { ReasonOf } from "../conditions.ts";
import { matches } from "../selector.ts";
import type { CacheKey } from "./schema.ts";

export interface Violation {
  readonly reason: Exclude<ReasonOf<"CacheKey", "Refused">, "Allowed" | "NotChecked">;
  readonly message: string;
}

/** What was granted: the longest life of a key made now, ms; undefined for no limit. */
export interface Allowed {
  readonly lifetime: number | undefined;
}

/** Who asks, and for what. Times in ms. */
interface Request {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly caches: readonly string[];
  readonly permission: "read" | "write";
  readonly scopes: readonly string[];
  /** How long one of its keys lives at most, undefined: for ever. */
  readonly lifetime: number | undefined;
}

interface Check {
  readonly reason: Violation["reason"];
  /** Whether a rule allows this aspect of the request. */
  allows(rule: AccessRule, request: Request): boolean;
  /** @param rules those that allowed all aspects checked before */
  explain(request: Request, rules: readonly AccessRule[]): string;
}

/** In order: each leaves of the rules those that allow its aspect, and the first that leaves none is the refusal. */
const CHECKS: readonly Check[] = [
  {
    reason: "NamespaceNotAllowed",
    allows: (rule, { labels }) => matches(rule.namespaceSelector, labels),
    explain: ({ namespace }) => `No entry of the CacheServer's access selects the namespace ${namespace}.`,
  },
  {
    reason: "CacheNotAllowed",
    allows: (rule, { caches }) => rule.caches.includes("*") || caches.every((cache) => rule.caches.includes(cache)),
    explain: ({ caches }, rules) => `Asked for ${caches.join(", ")}; allowed is ${alternatives(rules.map((rule) => rule.caches.join(", ")))}.`,
  },
  {
    reason: "PermissionNotAllowed",
    allows: (rule, { permission }) => rule.permissions.includes(permission) || (permission === "read" && rule.permissions.includes("write")),
    explain: ({ permission }) => `Asked for ${permission}, which is not allowed here.`,
  },
  {
    reason: "ScopeNotAllowed",
    allows: (rule, { scopes }) => scopes.every((scope) => rule.scopes.some((allowed) => covers(allowed, scope))),
    explain: ({ scopes }, rules) => `Asked for ${scopes.join(", ")}; allowed is ${alternatives(rules.map((rule) => ["the cache's default scope", ...rule.scopes].join(", ")))}.`,
  },
  {
    reason: "LifetimeNotAllowed",
    allows: ({ maxTTL }, { lifetime }) => maxTTL === undefined || (lifetime !== undefined && lifetime <= parseDuration(maxTTL)),
    explain: (_, rules) => `A key may live for ${alternatives(rules.map((rule) => rule.maxTTL ?? ""))} at most: set expiresAfter, or rotation whose every and overlap together are no longer.`,
  },
];

/**
 * Whether a CacheServer lets a CacheKey have what it asks for. One entry of `access` has to allow all of it.
 * @param labels of the CacheKey's namespace
 */
export function judge(server: CacheServer, key: CacheKey, labels: Readonly<Record<string, string>>): Violation | Allowed {
  const request = requestOf(key, labels);
  let rules = rulesOf(server);
  for (const { reason, allows, explain } of CHECKS) {
    const left = rules.filter((rule) => allows(rule, request));
    if (left.length === 0) return { reason, message: explain(request, rules) };
    rules = left;
  }
  const limits = rules.map(({ maxTTL }) => (maxTTL === undefined ? Infinity : parseDuration(maxTTL)));
  const longest = Math.max(...limits);
  return { lifetime: longest === Infinity ? undefined : longest };
}

/** Without any entry: the server's own namespace reads the default scope of any cache. */
function rulesOf(server: CacheServer): readonly AccessRule[] {
  if (server.spec.access.length > 0) return server.spec.access;
  const own = { matchLabels: { [NAMESPACE_LABEL]: server.metadata.namespace! } };
  return [{ namespaceSelector: own, caches: ["*"], permissions: ["read"], scopes: [] }];
}

/** Set on every namespace by the API server itself. */
export const NAMESPACE_LABEL = "kubernetes.io/metadata.name";

function requestOf({ metadata, spec }: CacheKey, labels: Readonly<Record<string, string>>): Request {
  const { expiresAfter, rotation } = spec;
  const ends = [
    ...(expiresAfter === undefined ? [] : [parseDuration(expiresAfter)]),
    ...(rotation === undefined ? [] : [parseDuration(rotation.every) + parseDuration(rotation.overlap)]),
  ];
  return {
    namespace: metadata.namespace!,
    labels,
    caches: spec.caches,
    permission: spec.permission,
    scopes: [...(spec.scope === undefined ? [] : [spec.scope]), ...(spec.readScopes ?? [])],
    lifetime: ends.length === 0 ? undefined : Math.min(...ends),
  };
}

/** ms. The schema lets nothing else pass. */
export function parseDuration(text: string): number {
  return DURATION.parse(text) ?? 0;
}

function covers(allowed: string, scope: string): boolean {
  return allowed.endsWith("*") ? scope.startsWith(allowed.slice(0, -1)) : scope === allowed;
}

function alternatives(texts: readonly string[]): string {
  return [...new Set(texts)].map((text) => text || "none").join(" or ");
}

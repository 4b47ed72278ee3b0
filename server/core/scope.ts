import { errors } from "./errors.ts";

/**
 * A scope is a trust domain. Two forms, which can't be confused:
 * - `<repository id>:<full git ref>`, minted by us from a verified GitHub identity (`1296269:refs/heads/main`);
 * - `<name>:<name>`, given by an administrator to keys without a GitHub identity (`team:ci`, `local:main`).
 * A bare ref is never a scope, so two repositories with equal branch names share nothing.
 */
export type Scope = string;

const GITHUB = /^[1-9][0-9]{0,18}:refs\/[^\u0000-\u001f\u007f ]{1,500}$/;
const NAMED = /^[a-z][a-z0-9-]{0,62}:[a-zA-Z0-9][a-zA-Z0-9._/-]{0,199}$/;

/** The scope of content-addressed entries: every scope of a cache shares them. */
export const SHARED_SCOPE: Scope = "*";

export function isScope(value: string): boolean {
  return GITHUB.test(value) || NAMED.test(value);
}

/** Throws badRequest unless the value is a scope an administrator may give. */
export function assertNamedScope(value: string): Scope {
  if (!NAMED.test(value)) throw errors.badRequest(`"${value}" is not a scope; write it like team:ci`);
  return value;
}

/** The scope of a git ref in a repository. @throws badRequest for a ref that is not a full ref name. */
export function githubScope(repositoryId: number | string, ref: string): Scope {
  const scope = `${repositoryId}:${ref}`;
  if (!GITHUB.test(scope)) throw errors.badRequest("the ref is not a full git ref");
  return scope;
}

const CACHE_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Names of caches: lower case only, compared exactly. */
export function isCacheName(value: string): boolean {
  return CACHE_NAME.test(value);
}

import { errors } from "../core/errors.ts";
import type { Grant } from "../core/grant.ts";
import { assertNamedScope, githubScope, isCacheName, type Scope } from "../core/scope.ts";

/** Who a verified GitHub token speaks for. */
export interface GithubIdentity {
  readonly repositoryId: string;
  readonly ownerId: string | null;
  /** `owner/name`. */
  readonly repository: string | null;
  /** Empty when the token doesn't say. */
  readonly event: string;
  /** The full ref the job runs on. */
  readonly ref: string;
  /** Full refs the job's changes are meant for. */
  readonly bases: readonly string[];
  readonly run: string;
}

/** A line of auth.github.rules. README.md explains each field. */
export interface Rule {
  readonly repositoryId?: number | string | undefined;
  readonly repositoryOwnerId?: number | string | undefined;
  /** `owner/name`; only beside one of the ids, since a name can pass to somebody else. */
  readonly repository?: string | undefined;
  readonly cache: string;
  /** A branch name: `main`. */
  readonly defaultBranch: string;
  /** Full refs; a `*` at the end stands for any rest. */
  readonly trustedRefs: readonly string[];
  /** A named scope that trusted refs write instead of their own and everyone under the rule reads last. */
  readonly sharedScope?: string | undefined;
}

export type Decision = Pick<Grant, "cache" | "read" | "write" | "trusted">;
export interface Refused {
  /** For the log and the audit; clients are told no more than that no rule names them. */
  readonly refused: string;
}

/** Events that can't be started by somebody who may not write the ref they run on. All others only read. */
const OWN_REF_EVENTS: ReadonlySet<string> = new Set(["push", "schedule", "workflow_dispatch", "merge_group", "release"]);
export const PULL_REF = /^refs\/pull\/[1-9][0-9]*\/merge$/;

/** What the first matching rule gives an identity. Pure. @throws badRequest when a ref is not a full git ref */
export function decide(identity: GithubIdentity, rules: readonly Rule[]): Decision | Refused {
  const rule = rules.find((candidate) => matches(candidate, identity));
  if (!rule) return { refused: `no rule names repository ${identity.repositoryId} (${identity.repository ?? "name unknown"})` };

  const scope = (ref: string): Scope => githubScope(identity.repositoryId, ref);
  const trusted = mayWrite(identity) && identity.event !== "pull_request" && rule.trustedRefs.some((pattern) => covers(pattern, identity.ref));
  const own = mayWrite(identity) ? scope(identity.ref) : null;
  const write = trusted && rule.sharedScope !== undefined ? rule.sharedScope : own;
  const refs = [identity.ref, ...identity.bases, `refs/heads/${rule.defaultBranch}`];
  const read = [...refs.map(scope), ...(rule.sharedScope === undefined ? [] : [rule.sharedScope])];
  return { cache: rule.cache, read: [...new Set(read)], write, trusted };
}

function matches(rule: Rule, identity: GithubIdentity): boolean {
  const { repositoryId, repositoryOwnerId, repository } = rule;
  // Never on a name alone, whatever checkRules let through.
  if (repositoryId === undefined && repositoryOwnerId === undefined) return false;
  return (
    (repositoryId === undefined || String(repositoryId) === identity.repositoryId) &&
    (repositoryOwnerId === undefined || String(repositoryOwnerId) === identity.ownerId) &&
    (repository === undefined || repository.toLowerCase() === identity.repository?.toLowerCase())
  );
}

function mayWrite({ event, ref }: GithubIdentity): boolean {
  if (event === "pull_request") return PULL_REF.test(ref);
  return OWN_REF_EVENTS.has(event) && /^refs\/(?:heads|tags)\//.test(ref);
}

function covers(pattern: string, ref: string): boolean {
  return pattern.endsWith("*") ? ref.startsWith(pattern.slice(0, -1)) : ref === pattern;
}

/** Checks the rules of the configuration. @throws config with the path of the field and what was expected */
export function checkRules(rules: readonly Rule[]): void {
  rules.forEach((rule, index) => {
    const check = (sound: boolean, field: keyof Rule, expected: string) => {
      if (!sound) throw errors.config(`auth.github.rules[${index}].${field}: expected ${expected}`);
    };
    const isId = (value: number | string | undefined) => value === undefined || (/^[1-9][0-9]{0,18}$/.test(String(value)) && !(Number(value) === value && !Number.isSafeInteger(value)));
    check(rule.repositoryId !== undefined || rule.repositoryOwnerId !== undefined, "repositoryId", "this or repositoryOwnerId; a name alone is not an identity");
    check(isId(rule.repositoryId), "repositoryId", "a number");
    check(isId(rule.repositoryOwnerId), "repositoryOwnerId", "a number");
    check(rule.repository === undefined || /^[^/\s]+\/[^/\s]+$/.test(rule.repository), "repository", "owner/name");
    check(isCacheName(rule.cache), "cache", "the name of a cache");
    check(rule.defaultBranch !== "" && !rule.defaultBranch.startsWith("refs/") && isRef(`refs/heads/${rule.defaultBranch}`), "defaultBranch", "a branch name like main");
    check(rule.trustedRefs.every((ref) => isRef(ref) && !ref.slice(0, -1).includes("*")), "trustedRefs", "full refs like refs/heads/main, with * at the end only");
    check(rule.sharedScope === undefined || isNamed(rule.sharedScope), "sharedScope", "a scope like team:ci");
  });
}

function isRef(ref: string): boolean {
  return /^refs\/[^\s\u0000-\u001f\u007f]{1,500}$/.test(ref);
}

function isNamed(scope: string): boolean {
  try {
    return assertNamedScope(scope) === scope;
  } catch {
    return false;
  }
}

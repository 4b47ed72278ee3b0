import type { JWTPayload } from "jose";
import { errors } from "../core/errors.ts";
import { githubScope } from "../core/scope.ts";
import type { Access } from "./access.ts";
import { PULL_REF, type Decision, type GithubIdentity } from "./rules.ts";
import { RUN_ID } from "./session-id.ts";

/** What a rule can match and a session is revoked by. */
function common(claims: JWTPayload): Pick<GithubIdentity, "repositoryId" | "ownerId" | "repository"> {
  const repositoryId = text(claims, "repository_id");
  if (!repositoryId || !/^[1-9][0-9]{0,18}$/.test(repositoryId)) throw malformed("repository_id");
  return { repositoryId, ownerId: text(claims, "repository_owner_id"), repository: text(claims, "repository") };
}

/** The identity in the claims of an OIDC id token (github-actions.md §4.1). @throws tokenInvalid for missing claims */
export function oidcIdentity(claims: JWTPayload): GithubIdentity {
  const event = text(claims, "event_name") ?? missing("event_name");
  const ref = text(claims, "ref") ?? missing("ref");
  const run = text(claims, "run_id") ?? missing("run_id");
  if (!RUN_ID.test(run)) throw malformed("run_id");
  return checked({ ...common(claims), event, ref, bases: basesOf(text(claims, "base_ref"), event, ref), run });
}

/**
 * The identity in the claims of a runtime token. It need not say which event runs: then a pull request's ref, which
 * nobody else reads, may be written, and every other ref counts as if an event outside the allow-list ran on it.
 */
export function runtimeIdentity(claims: JWTPayload, access: readonly Access[]): GithubIdentity {
  const writable = access.filter((scope) => scope.write);
  const ref = text(claims, "ref") ?? (writable.length === 1 ? writable[0] : access[0])?.ref ?? missing("ref");
  const event = text(claims, "event_name") ?? (PULL_REF.test(ref) ? "pull_request" : "");
  const run = text(claims, "run_id") ?? "";
  const stated = basesOf(text(claims, "base_ref"), event, ref);
  const bases = stated.length > 0 ? stated : access.filter((scope) => scope.ref.startsWith("refs/heads/")).map((scope) => scope.ref);
  return checked({ ...common(claims), event, ref, bases, run: RUN_ID.test(run) ? run : "0" });
}

/** What both a rule and a runtime token's own `ac` allow. */
export function limitTo(decision: Decision, identity: GithubIdentity, access: readonly Access[]): Decision {
  const scopes = (permission: "read" | "write") => access.filter((item) => item[permission]).map((item) => githubScope(identity.repositoryId, item.ref));
  const readable = scopes("read");
  const write = decision.write !== null && scopes("write").includes(decision.write) ? decision.write : null;
  return { ...decision, read: decision.read.filter((scope) => readable.includes(scope)), write, trusted: decision.trusted && write !== null };
}

/** A pull request names its base; a merge queue's branch has it inside its name. */
function basesOf(base: string | null, event: string, ref: string): string[] {
  const queued = event === "merge_group" ? /^refs\/heads\/gh-readonly-queue\/(.+)\/pr-[0-9]+-[0-9a-f]+$/.exec(ref)?.[1] : undefined;
  const branch = base || queued;
  if (!branch) return [];
  return [branch.startsWith("refs/heads/") ? branch : `refs/heads/${branch}`];
}

/** All refs of an identity can be scopes. */
function checked(identity: GithubIdentity): GithubIdentity {
  for (const ref of [identity.ref, ...identity.bases]) {
    try {
      githubScope(identity.repositoryId, ref);
    } catch (cause) {
      throw errors.tokenInvalid("a ref in it is not a full git ref", { cause });
    }
  }
  return identity;
}

/** Ids come as strings from GitHub, and as numbers from issuers that imitate it. */
function text(claims: JWTPayload, name: string): string | null {
  const value = claims[name];
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  throw malformed(name);
}

function missing(claim: string): never {
  throw errors.tokenInvalid(`its claim ${claim} is missing`);
}

function malformed(claim: string) {
  return errors.tokenInvalid(`its claim ${claim} is malformed`);
}

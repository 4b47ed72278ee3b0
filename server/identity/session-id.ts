import { randomBytes } from "node:crypto";

/**
 * A session's id tells where it comes from: `run-<GitHub run id>.<random>`, `key-<key id>.<random>` or `anonymous.<random>`.
 * So whoever holds only the actor of a signed URL or an upload (`session:<id>`) can still ask whether the run or the key
 * behind it was revoked. A narrowed session keeps the id: revoking one token of a session ends all of them.
 */
export interface SessionOrigin {
  readonly run: string | null;
  readonly key: string | null;
}

const ID = /^(?:run-(?<run>[0-9]{1,20})|key-(?<key>[a-z0-9-]{1,80})|anonymous)\.[A-Za-z0-9_-]{16}$/;

export const RUN_ID = /^[0-9]{1,20}$/;

export function newSessionId(origin: SessionOrigin): string {
  const from = origin.run !== null ? `run-${origin.run}` : origin.key !== null ? `key-${origin.key}` : "anonymous";
  return `${from}.${randomBytes(12).toString("base64url")}`;
}

/** Undefined for what is not a session id. Both parts are null for a session made from no credential. */
export function parseSessionId(id: string): SessionOrigin | undefined {
  const groups = ID.exec(id)?.groups;
  return groups && { run: groups["run"] ?? null, key: groups["key"] ?? null };
}

/** A token's `jti`: its session and a part of its own. */
export function newTokenId(session: string): string {
  return `${session}.${randomBytes(6).toString("base64url")}`;
}

/** The session of a `jti`, an actor (`session:…`) or a session id, as an administrator may have copied it. */
export function sessionOf(value: string): string {
  return value.replace(/^session:/, "").split(".").slice(0, 2).join(".");
}

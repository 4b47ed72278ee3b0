import { stamp, verdict, type ReasonOf, type Verdict } from "../conditions.ts";
import type { Condition } from "../object.ts";
import type { Violation } from "./access.ts";
import { rotationOf } from "./plan.ts";
import type { CacheKey, CacheKeyStatus } from "./schema.ts";
import { secretNameOf } from "./secret.ts";
import type { KeyState } from "./state.ts";

/** As the CRD has it. */
const MAX_PREVIOUS = 20;

type Reason = ReasonOf<"CacheKey", "Ready">;

/** How it stands about a CacheKey. */
export interface Standing {
  readonly reason: Reason;
  readonly message?: string;
}

export interface Facts {
  readonly key: CacheKey;
  /** Namespace and name of the CacheServer. */
  readonly server: string;
  readonly standing: Standing;
  /** Undefined where access could not be judged. */
  readonly access: Violation | "allowed" | undefined;
  readonly state: KeyState | undefined;
  readonly now: number;
}

/** Pure: what the facts say of a CacheKey. */
export function statusOf({ key, server, standing, access, state, now }: Facts): CacheKeyStatus {
  const rotates = state && standing.reason !== "Expired" ? rotationOf(key.spec, state) : undefined;
  const before = key.status ?? {};
  // What is known of a key stays when its Secret is gone: of an expired one it says that there is to be no other.
  const kept = state === undefined && ["Expired", "SecretContested"].includes(standing.reason) ? { keyId: before.keyId, grant: before.grant, issuedAt: before.issuedAt, expiresAt: before.expiresAt } : {};
  const fields = {
    observedGeneration: key.metadata.generation ?? 0,
    server,
    secretName: secretNameOf(key),
    ...kept,
    ...(state && { keyId: state.id, grant: state.grant, issuedAt: iso(state.issued), expiresAt: iso(state.expires) }),
    rotatesAt: iso(rotates),
    previous: state && state.previous.length > 0 ? state.previous.slice(-MAX_PREVIOUS).map(({ id, ends }) => ({ keyId: id, expiresAt: iso(ends)! })) : undefined,
    conditions: stamp([verdict("CacheKey", "Ready", standing.reason, standing.message), refusal(access)], (before.conditions ?? []) as Condition[], key.metadata.generation ?? 0, now),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as CacheKeyStatus;
}

function refusal(access: Facts["access"]): Verdict {
  if (access === undefined) return verdict("CacheKey", "Refused", "NotChecked");
  return access === "allowed" ? verdict("CacheKey", "Refused", "Allowed") : verdict("CacheKey", "Refused", access.reason, access.message);
}

function iso(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

import { verdict, type Verdict } from "../conditions.ts";
import type { KubeObject } from "../object.ts";
import { parseQuantity } from "../quantity.ts";
import type { Missing } from "./inputs.ts";
import type { Problem } from "./problem.ts";
import type { CacheServer } from "./schema.ts";

interface ClaimStatus {
  readonly phase?: string;
  readonly capacity?: { readonly storage?: string };
  readonly allocatedResourceStatuses?: { readonly storage?: string };
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
}

/** A server's claim, or the one of its user's that it has. */
export interface Claim {
  readonly name: string;
  /** Undefined when there is none. */
  readonly object: KubeObject | undefined;
  /** Why it could not be made as wanted. */
  readonly problem?: Problem | undefined;
}

/** @param claim undefined for a server without a volume */
export function storageVerdict(server: CacheServer, claim: Claim | undefined, missing: readonly Missing[]): Verdict {
  const state = (reason: Parameters<typeof verdict<"CacheServer", "StorageReady">>[2], message?: string) => verdict("CacheServer", "StorageReady", reason, message);
  const volume = claim && claimReason(server, claim);
  if (claim && volume && volume.reason !== "Bound") return state(volume.reason, volume.message);
  const credentials = missing.find(({ purpose }) => purpose === "s3");
  if (credentials) return state("CredentialsMissing", credentials.message);
  return server.spec.storage.type === "S3" ? state("ObjectStorage") : state("Bound", volume?.message);
}

function claimReason(server: CacheServer, { name, object, problem }: Claim): { reason: "Bound" | "ClaimMissing" | "Pending" | "Lost" | "NotRead" | "ResizePending" | "ClassForbidsExpansion" | "ResizeFailed"; message?: string } {
  if (problem && /resize|expan/i.test(problem.message)) return { reason: "ClassForbidsExpansion", message: problem.message };
  if (object === undefined) {
    const own = server.spec.storage.persistentVolume.existingClaim === undefined;
    return own ? { reason: "Pending", message: `PersistentVolumeClaim/${name} isn't there yet.` } : { reason: "ClaimMissing", message: `PersistentVolumeClaim/${name} doesn't exist.` };
  }
  const status = (object["status"] ?? {}) as ClaimStatus;
  if (status.phase === undefined) return { reason: "NotRead" };
  if (status.phase === "Lost") return { reason: "Lost" };
  if (status.phase !== "Bound") return { reason: "Pending" };

  const failed = status.conditions?.find(({ type, status: holds }) => /^(Controller|Node)ResizeError$/.test(type) && holds === "True");
  if (failed || status.allocatedResourceStatuses?.storage?.endsWith("Infeasible") === true) return { reason: "ResizeFailed", message: failed?.message ?? "The storage driver can't provide a volume of this size." };
  const [wanted, has] = [requestOf(object), status.capacity?.storage];
  if ((parseQuantity(wanted) ?? 0) > (parseQuantity(has) ?? 0)) return { reason: "ResizePending", message: `The volume has ${has ?? "no size yet"} and is to have ${wanted}.` };
  return { reason: "Bound", message: `PersistentVolumeClaim/${name} is bound to ${has}.` };
}

function requestOf(claim: KubeObject): string | undefined {
  return (claim["spec"] as { resources?: { requests?: { storage?: string } } } | undefined)?.resources?.requests?.storage;
}

/** The size of the volume, the bucket, or both: for people. */
export function storageText(server: CacheServer, claim: Claim | undefined): string | undefined {
  const { s3 } = server.spec.storage;
  if (s3 !== undefined) return `s3://${s3.bucket}`;
  return ((claim?.object?.["status"] ?? {}) as ClaimStatus).capacity?.storage;
}

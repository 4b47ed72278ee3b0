import * as admin from "./operations/admin.ts";
import * as archives from "./operations/archives.ts";
import * as audit from "./operations/audit.ts";
import * as blobs from "./operations/blobs.ts";
import * as browse from "./operations/browse.ts";
import * as deploy from "./operations/deploy.ts";
import * as entries from "./operations/entries.ts";
import * as keys from "./operations/keys.ts";
import * as losses from "./operations/losses.ts";
import * as secrets from "./operations/secrets.ts";
import * as uploads from "./operations/uploads.ts";
import type { Operation } from "./step.ts";

const { getEntry, entryById, findPrefix, entryParts, putEntry, removeEntries, touchEntries, setDigest, listEntries, expiredEntries, evictionCandidates, neededEntries, entriesOfBlob, partedEntries, joinParts } = entries;
const { blobBytes, collectBlobs, listBlobs, knownFiles, storeInUse, moveBlob } = blobs;
const { reserveUpload, getUpload, uploadByNumber, findUpload, uploadParts, uploadBlobs, addPart, renewUpload, arrangeParts, commitUpload, abortUpload, expiredUploads, openUploads } = uploads;
const { leaseChunks, leaseParts, copyArchive } = archives;
const { appendAudit, queryAudit, pruneAudit } = audit;

/** Everything the index can do. Both drivers run these generators; see step.ts. */
export const operations = {
  getEntry, entryById, findPrefix, entryParts, putEntry, removeEntries, touchEntries, setDigest, listEntries, expiredEntries, evictionCandidates, neededEntries, entriesOfBlob, partedEntries, joinParts,
  blobBytes, collectBlobs, listBlobs, knownFiles, storeInUse, moveBlob,
  reserveUpload, getUpload, uploadByNumber, findUpload, uploadParts, uploadBlobs, addPart, renewUpload, arrangeParts, commitUpload, abortUpload, expiredUploads, openUploads,
  leaseChunks, leaseParts, copyArchive,
  appendAudit, queryAudit, pruneAudit,
  ...deploy,
  ...keys,
  ...losses,
  ...secrets,
  ...admin,
  ...browse,
} as const;

type Operations = typeof operations;
export type OperationName = keyof Operations;
export type Arguments<N extends OperationName> = Parameters<Operations[N]> extends [infer A, ...unknown[]] ? A : Record<string, never>;
export type Result<N extends OperationName> = ReturnType<Operations[N]> extends Generator<unknown, infer R, never> ? R : never;

/** The generator of an operation, ready to be stepped through. */
export function start(name: OperationName, args: unknown, slot: number): ReturnType<Operation<unknown, unknown>> {
  return (operations[name] as unknown as Operation<unknown, unknown>)(args, slot);
}

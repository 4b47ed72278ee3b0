import { MissingBlob } from "../store.ts";

interface ServiceError {
  readonly name?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Record<string, string> };
}

/** What services that end somewhere say when they are full: MinIO, Ceph, others. */
const FULL = new Set(["XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioAdminBucketQuotaExceeded"]);

/** The HTTP status of the service's refusal; undefined when it did not answer at all. */
export function statusOf(error: unknown): number | undefined {
  return (error as ServiceError).$metadata?.httpStatusCode;
}

export function nameOf(error: unknown): string | undefined {
  return (error as ServiceError).name;
}

/** A header of the answer that carried the refusal. */
export function headerOf(error: unknown, header: string): string | undefined {
  return (error as ServiceError).$response?.headers?.[header];
}

/** Says the service's refusal in the words of the store interface; other errors stay as they are. */
export function translate(error: unknown, name: string): unknown {
  const refusal = nameOf(error);
  if (refusal === "NoSuchKey") return new MissingBlob(name);
  if (refusal !== undefined && FULL.has(refusal)) return Object.assign(new Error(`the bucket is full (${refusal})`, { cause: error }), { code: "ENOSPC" });
  return error;
}

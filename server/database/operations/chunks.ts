import { all, step, type Row, type Step, type Steps } from "../step.ts";

/** What a frame was found to hold: chunks one after the other, as they were verified. */
export interface FrameContent {
  /** Bytes the frame inflates to. */
  readonly raw: number;
  readonly chunks: readonly { readonly id: Uint8Array; readonly start: number; readonly length: number }[];
}

/** Where a chunk is. */
export interface ChunkPlace {
  readonly id: Uint8Array;
  readonly blob: number;
  readonly start: number;
  readonly length: number;
  /** Of the frame. */
  readonly raw: number;
  readonly digest: string;
  readonly size: number;
}

/** Identifiers asked for in one statement; shorter lists repeat one, so that the statement's text stays the same. */
export const BATCH = 200;

export function* batches<T>(values: readonly T[]): Generator<T[]> {
  for (let from = 0; from < values.length; from += BATCH) {
    const batch = values.slice(from, from + BATCH);
    while (batch.length < BATCH) batch.push(batch[0]!);
    yield batch;
  }
}

/** `?3, ?4, …` for a batch whose first parameter is number `first`. */
export function placeholders(first: number, count = BATCH): string {
  return Array.from({ length: count }, (_, index) => `?${first + index}`).join(", ");
}

/** Records what a verified frame holds. Of several frames with a chunk the latest counts: its neighbours are wanted with it. */
export function* indexChunks(cache: string, blob: number, { raw, chunks }: FrameContent): Steps<void> {
  const steps = chunks.map(({ id, start, length }): Step =>
    step(
      "INSERT INTO chunks (cache, id, blob, start, length, raw) VALUES (?1, ?2, ?3, ?4, ?5, ?6) " +
        "ON CONFLICT (cache, id) DO UPDATE SET blob = excluded.blob, start = excluded.start, length = excluded.length, raw = excluded.raw",
      cache, id, blob, start, length, raw,
    ),
  );
  if (steps.length > 0) yield steps;
}

/** Those of the chunks that a frame of this cache holds. */
export function* findChunks(cache: string, ids: readonly Uint8Array[]): Steps<ChunkPlace[]> {
  const found: Row[] = [];
  for (const batch of batches(ids)) {
    found.push(...(yield* all(
      `SELECT c.id, c.blob, c.start, c.length, c.raw, b.digest, b.size FROM chunks c JOIN blobs b ON b.id = c.blob WHERE c.cache = ?1 AND c.id IN (${placeholders(2)})`,
      cache, ...batch,
    )));
  }
  return found as unknown as ChunkPlace[];
}

/** Forgets the chunks of blobs that are gone. */
export function* dropChunks(blobs: readonly number[]): Steps<void> {
  if (blobs.length > 0) yield blobs.map((blob) => step("DELETE FROM chunks WHERE blob = ?1", blob));
}

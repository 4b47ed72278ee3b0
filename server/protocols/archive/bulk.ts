import { errors } from "../../core/errors.ts";
import type { Upload, Uploads } from "../../core/uploads.ts";
import { RecordReader } from "./records.ts";
import type { Verifier } from "./verify.ts";
import { MAX_CHUNK, MAX_COLUMN, MAX_FRAME, MAX_FRAME_CHUNKS, parseRecordChunks, parseRecordHead, RECORD_CHUNK, RECORD_HEAD } from "./wire.ts";

/** Blobs of one request that are verified and written at once: enough to share commits, few enough to stay small. */
const IN_FLIGHT = 8;

/**
 * Stores blobs as they arrive, each under its digest as a part of the upload: columns as they are, frames after they were
 * verified. Resolves with the digests once all are durable. What was stored before a failure stays the upload's.
 * @throws badRequest, digestMismatch, tooLarge, and what Uploads.part throws
 */
export async function storeBlobs(uploads: Uploads, verifier: Verifier, upload: Upload, body: AsyncIterable<Buffer>): Promise<string[]> {
  const reader = new RecordReader(body);
  const stored: string[] = [];
  const running = new Set<Promise<void>>();
  let failure: unknown;
  try {
    while (failure === undefined && (await reader.more())) {
      const { digest, size, chunks } = parseRecordHead(await reader.take(RECORD_HEAD));
      if (chunks === 0 && size > MAX_COLUMN) throw errors.tooLarge(`${MAX_COLUMN} bytes a column`);
      if (chunks === 0 && size > MAX_FRAME) {
        await uploads.part(upload, digest, 0, reader.stream(size), { size, digest });
        stored.push(digest);
        continue;
      }
      if (size > MAX_FRAME || chunks > MAX_FRAME_CHUNKS) throw errors.tooLarge(`${MAX_FRAME} bytes and ${MAX_FRAME_CHUNKS} chunks a frame`);
      const list = parseRecordChunks(await reader.take(chunks * RECORD_CHUNK));
      let raw = 0;
      const content = list.map(({ id, length }) => {
        if (length === 0 || length > MAX_CHUNK) throw errors.badRequest("a chunk is empty or too long");
        raw += length;
        return { id, start: raw - length, length };
      });
      if (raw > MAX_FRAME) throw errors.tooLarge(`${MAX_FRAME} bytes a frame`);
      const place = await verifier.place();
      const frame = place.memory.subarray(0, size);
      const read = reader.fill(frame);
      const store = async () => {
        await read;
        if (chunks > 0) await verifier.verify(frame, list);
        await uploads.part(upload, digest, 0, frame, { size, digest, ...(chunks > 0 && { content: { raw, chunks: content } }) });
        stored.push(digest);
      };
      const work: Promise<void> = store()
        .catch((error: unknown) => void (failure ??= error))
        .finally(() => {
          place.leave();
          running.delete(work);
        });
      running.add(work);
      await read.catch(() => {});
      if (running.size >= IN_FLIGHT) await Promise.race(running);
    }
  } catch (error) {
    failure ??= error;
  } finally {
    await Promise.all(running);
    await reader.close();
  }
  if (failure !== undefined) throw failure;
  return stored;
}

import type { Readable } from "node:stream";
import { GetObjectCommand, type GetObjectCommandOutput, type S3Client } from "@aws-sdk/client-s3";
import { MissingBlob, TruncatedBlob, type BlobReader } from "../store.ts";
import { nameOf, translate } from "./errors.ts";

type Push = (chunk: Buffer) => Promise<void> | undefined;

export interface S3ReaderParts {
  readonly client: S3Client;
  readonly object: { readonly Bucket: string; readonly Key: string };
  readonly name: string;
  readonly size: number;
  /** Tries without a byte of progress before a read fails. */
  readonly attempts: number;
  /** Throws when the bucket can't be believed that it lacks the object. */
  readonly assertBucket: () => Promise<void>;
}

/** Reads one object by ranges; a connection lost on the way is taken up again where it broke. */
export class S3Reader implements BlobReader {
  readonly size: number;
  readonly #parts: S3ReaderParts;
  #closed = false;

  constructor(parts: S3ReaderParts) {
    this.size = parts.size;
    this.#parts = parts;
  }

  async read(start: number, end: number, push: Push): Promise<void> {
    if (this.#closed) throw new Error("read after close");
    if (!(start >= 0 && start <= end && end <= this.size)) throw new RangeError(`no bytes ${start} to ${end} in a blob of ${this.size}`);
    let failures = 0;
    for (let position = start; position < end; ) {
      const { pushed, error } = await this.#stretch(position, end, push);
      position += pushed;
      failures = pushed > 0 ? 0 : failures + 1;
      if (error !== undefined && failures >= this.#parts.attempts) throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** One GET as far as it goes. Throws what makes no sense to try again; a broken connection is an `error` beside what was pushed. */
  async #stretch(start: number, end: number, push: Push): Promise<{ pushed: number; error?: unknown }> {
    const chunks = (await this.#get(start, end))[Symbol.asyncIterator]();
    let pushed = 0;
    try {
      for (;;) {
        let next: IteratorResult<Buffer>;
        try {
          next = await chunks.next();
        } catch (error) {
          return { pushed, error };
        }
        if (next.done) return start + pushed === end ? { pushed } : { pushed, error: new Error("the service ended its answer early") };
        await push(next.value);
        pushed += next.value.length;
      }
    } finally {
      // Destroys the connection unless it was read to its end.
      await chunks.return?.();
    }
  }

  async #get(start: number, end: number): Promise<Readable> {
    const { name } = this.#parts;
    const wanted = end - start;
    const answer = await this.#ask(start, end).catch(async (error: unknown) => {
      if (!(error instanceof MissingBlob)) throw error;
      // As in S3Store.open: the bucket may have been away when it was asked.
      await this.#parts.assertBucket();
      return this.#ask(start, end);
    });
    const body = answer.Body as Readable | undefined;
    if (!body) throw new MissingBlob(name);
    if (answer.ContentLength === wanted) return body;
    body.destroy();
    if (answer.ContentLength !== undefined && answer.ContentLength < wanted) throw new TruncatedBlob(name, start + answer.ContentLength, this.size);
    throw new Error("the service does not answer the range it is asked for");
  }

  #ask(start: number, end: number): Promise<GetObjectCommandOutput> {
    const { client, object, name } = this.#parts;
    return client.send(new GetObjectCommand({ ...object, Range: `bytes=${start}-${end - 1}` })).catch((error: unknown) => {
      throw nameOf(error) === "InvalidRange" ? new TruncatedBlob(name, start, this.size) : translate(error, name);
    });
  }
}

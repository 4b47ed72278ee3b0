import type { Readable } from "node:stream";
import { GetObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { MissingBlob, TruncatedBlob, type BlobReader } from "../store.ts";
import { nameOf, translate } from "./errors.ts";

type Push = (chunk: Buffer) => Promise<void> | undefined;

/** Reads one object by ranges; a connection lost on the way is taken up again where it broke. */
export class S3Reader implements BlobReader {
  readonly size: number;
  readonly #client: S3Client;
  readonly #object: { Bucket: string; Key: string };
  readonly #name: string;
  readonly #attempts: number;
  #closed = false;

  /** @param attempts without a byte of progress before a read fails */
  constructor(client: S3Client, object: { Bucket: string; Key: string }, name: string, size: number, attempts: number) {
    this.size = size;
    this.#client = client;
    this.#object = object;
    this.#name = name;
    this.#attempts = attempts;
  }

  async read(start: number, end: number, push: Push): Promise<void> {
    if (this.#closed) throw new Error("read after close");
    if (!(start >= 0 && start <= end && end <= this.size)) throw new RangeError(`no bytes ${start} to ${end} in a blob of ${this.size}`);
    let failures = 0;
    for (let position = start; position < end; ) {
      const { pushed, error } = await this.#stretch(position, end, push);
      position += pushed;
      failures = pushed > 0 ? 0 : failures + 1;
      if (error !== undefined && failures >= this.#attempts) throw error;
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
    const wanted = end - start;
    const command = new GetObjectCommand({ ...this.#object, Range: `bytes=${start}-${end - 1}` });
    const answer = await this.#client.send(command).catch((error: unknown) => {
      throw nameOf(error) === "InvalidRange" ? new TruncatedBlob(this.#name, start, this.size) : translate(error, this.#name);
    });
    const body = answer.Body as Readable | undefined;
    if (!body) throw new MissingBlob(this.#name);
    if (answer.ContentLength === wanted) return body;
    body.destroy();
    if (answer.ContentLength !== undefined && answer.ContentLength < wanted) throw new TruncatedBlob(this.#name, start + answer.ContentLength, this.size);
    throw new Error("the service does not answer the range it is asked for");
  }
}

import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand, PutObjectCommand, UploadPartCommand,
  type CompletedPart, type CreateMultipartUploadCommandInput, type S3Client,
} from "@aws-sdk/client-s3";
import type { BlobWriter } from "../store.ts";
import { translate } from "./errors.ts";
import type { Gate } from "./gate.ts";

/** The protocol's own limit. */
const MAX_PARTS = 10_000;
const FIRST_BUFFER = 1024 * 1024;
/** Part buffers kept for the next part; the others are left to the collector. */
const SPARE_BUFFERS = 4;
const EMPTY = Buffer.alloc(0);

type Encryption = Pick<CreateMultipartUploadCommandInput, "ServerSideEncryption" | "SSEKMSKeyId">;

/** What the writers of one store share. */
export interface Uploading {
  readonly client: S3Client;
  readonly partSize: number;
  readonly encryption: Encryption;
  /** Whether parts carry a CRC, which their upload has to announce. */
  readonly checksums: boolean;
  readonly gate: Gate;
  readonly spare: Buffer[];
  /** Multipart uploads of this process, which no sweep may touch. */
  readonly live: Set<string>;
  /** Clean-up that nobody waits for but the store's end. */
  readonly background: Set<Promise<void>>;
}

/**
 * Writes one blob: one object when it fits a part, else parts. Holds one part being filled; full ones pass the common gate,
 * and the client waits for it. Whatever fails ends the whole write and is what every later call rejects with.
 */
export class S3Writer implements BlobWriter {
  readonly #shared: Uploading;
  readonly #object: { Bucket: string; Key: string };
  readonly #name: string;
  readonly #stop = new AbortController();
  readonly #flying = new Set<Promise<void>>();
  readonly #parts: CompletedPart[] = [];
  #buffer: Buffer = EMPTY;
  #filled = 0;
  #sent = 0;
  #upload: Promise<string> | undefined;
  #error: unknown;
  #end: Promise<unknown> | undefined;

  constructor(shared: Uploading, object: { Bucket: string; Key: string }, name: string) {
    this.#shared = shared;
    this.#object = object;
    this.#name = name;
  }

  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#end) return Promise.reject(new Error("write after commit or abort"));
    const rest = this.#fill(chunk);
    return rest.length > 0 ? this.#spill(rest) : undefined;
  }

  commit(_digest: string): Promise<string> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#end) return Promise.reject(new Error("commit after commit or abort"));
    const committed = this.#commit();
    this.#end = committed.catch(() => {});
    return committed;
  }

  async abort(): Promise<void> {
    // A failed write cleans up behind itself; nobody has to wait for a service that may be away.
    if (this.#error !== undefined) return;
    if (!this.#end) {
      this.#stop.abort();
      this.#end = this.#discard();
    }
    await this.#end;
  }

  async #commit(): Promise<string> {
    try {
      if (this.#sent === 0) await this.#put();
      else {
        if (this.#filled > 0) await this.#sendPart();
        await Promise.all(this.#flying);
        this.#stop.signal.throwIfAborted();
        await this.#complete();
      }
      return this.#name;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  async #put(): Promise<void> {
    const { client, gate, encryption } = this.#shared;
    const bytes = this.#filled;
    await gate.enter(bytes, this.#stop.signal);
    try {
      await client.send(new PutObjectCommand({ ...this.#object, ...encryption, Body: this.#buffer.subarray(0, bytes), ContentLength: bytes }));
      this.#recycle(this.#buffer);
      this.#buffer = EMPTY;
    } finally {
      gate.leave(bytes);
    }
  }

  /** Takes what fits the part; returns the rest. */
  #fill(chunk: Buffer): Buffer {
    let rest = chunk;
    while (rest.length > 0 && this.#hasRoom()) {
      const copied = rest.copy(this.#buffer, this.#filled);
      this.#filled += copied;
      rest = rest.subarray(copied);
    }
    return rest;
  }

  /** Most blobs are small, so the first buffer is; a second makes room for a whole part. */
  #hasRoom(): boolean {
    const { partSize, spare } = this.#shared;
    if (this.#filled < this.#buffer.length) return true;
    if (this.#buffer.length === partSize) return false;
    const first = this.#buffer.length === 0 && this.#sent === 0;
    const larger = first ? Buffer.allocUnsafeSlow(FIRST_BUFFER) : (spare.pop() ?? Buffer.allocUnsafeSlow(partSize));
    this.#buffer.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
    return true;
  }

  async #spill(rest: Buffer): Promise<void> {
    try {
      while (rest.length > 0) {
        await this.#sendPart();
        rest = this.#fill(rest);
      }
    } catch (error) {
      // After an abort there is nobody left to tell.
      if (this.#error !== undefined) throw error;
    }
  }

  /** Waits until the part may go and lets it go. */
  async #sendPart(): Promise<void> {
    const [buffer, length] = [this.#buffer, this.#filled];
    await this.#shared.gate.enter(length, this.#stop.signal);
    this.#buffer = EMPTY;
    this.#filled = 0;
    const flight = this.#fly(++this.#sent, buffer, length).finally(() => {
      this.#shared.gate.leave(length);
      this.#flying.delete(flight);
    });
    this.#flying.add(flight);
  }

  async #fly(number: number, buffer: Buffer, length: number): Promise<void> {
    try {
      if (number > MAX_PARTS) throw new Error(`the body needs more than ${MAX_PARTS} parts; raise partSize`);
      const UploadId = await (this.#upload ??= this.#begin());
      const part = new UploadPartCommand({ ...this.#object, UploadId, PartNumber: number, Body: buffer.subarray(0, length), ContentLength: length });
      const { ETag, ChecksumCRC32 } = await this.#shared.client.send(part, { abortSignal: this.#stop.signal });
      this.#parts[number - 1] = { PartNumber: number, ETag, ChecksumCRC32 };
      this.#recycle(buffer);
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#fail(error);
    }
  }

  /** Not cut short by an abort: the service may have begun the upload, and only its id can end it. */
  async #begin(): Promise<string> {
    const { client, encryption, checksums, live } = this.#shared;
    const begin = new CreateMultipartUploadCommand({ ...this.#object, ...encryption, ...(checksums && { ChecksumAlgorithm: "CRC32" }) });
    const { UploadId } = await client.send(begin);
    if (UploadId === undefined) throw new Error("the service began an upload without an id");
    live.add(UploadId);
    return UploadId;
  }

  async #complete(): Promise<void> {
    const UploadId = (await this.#upload)!;
    await this.#shared.client.send(new CompleteMultipartUploadCommand({ ...this.#object, UploadId, MultipartUpload: { Parts: this.#parts } }));
    this.#shared.live.delete(UploadId);
  }

  #fail(error: unknown): unknown {
    if (this.#error === undefined) {
      this.#error = translate(error, this.#name);
      this.#stop.abort(this.#error);
      const { background } = this.#shared;
      const discarded = this.#discard().finally(() => background.delete(discarded));
      background.add(discarded);
    }
    return this.#error;
  }

  /** Ends the multipart upload, if there is one. What can't be ended now is swept later. */
  async #discard(): Promise<void> {
    const { client, live } = this.#shared;
    this.#buffer = EMPTY;
    await Promise.all(this.#flying);
    const UploadId = await this.#upload?.catch(() => undefined);
    if (UploadId === undefined) return;
    await client.send(new AbortMultipartUploadCommand({ ...this.#object, UploadId })).catch(() => {});
    live.delete(UploadId);
  }

  /** Only after a success: a broken connection might still be sending the buffer. */
  #recycle(buffer: Buffer): void {
    const { spare, partSize } = this.#shared;
    if (buffer.length === partSize && spare.length < SPARE_BUFFERS) spare.push(buffer);
  }
}

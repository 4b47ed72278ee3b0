import {
  AbortMultipartUploadCommand, DeleteObjectCommand, GetObjectCommand, HeadBucketCommand, HeadObjectCommand,
  ListMultipartUploadsCommand, ListObjectsV2Command,
  type ListMultipartUploadsCommandOutput, type ListObjectsV2CommandOutput,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { errors } from "../core/errors.ts";
import { Bucket } from "./s3/bucket.ts";
import { createSigner } from "./s3/client.ts";
import { nameOf, statusOf } from "./s3/errors.ts";
import { Gate } from "./s3/gate.ts";
import { s3Problems, type S3Options } from "./s3/options.ts";
import { S3Reader } from "./s3/reader.ts";
import { Witnesses } from "./s3/witness.ts";
import { S3Writer, type Uploading } from "./s3/writer.ts";
import { MissingBlob, TruncatedBlob, type BlobReader, type BlobStore, type BlobWriter, type StoredBlob } from "./store.ts";

/** No presigned URL is good for longer, seconds. */
const LONGEST_URL = 300;

/**
 * Opens a store in a bucket. Makes no request: a service that is away now may be there for the first blob.
 * @param unsentBytes that all uploads together may have on their way to the service; one part each comes on top
 * @throws config when fields contradict each other
 */
export function openS3(options: S3Options, unsentBytes = 24 * 1024 * 1024): BlobStore {
  const problem = s3Problems(options)[0];
  if (problem) throw errors.config(`${problem.field} ${problem.message}`);
  return new S3Store(options, unsentBytes);
}

class S3Store implements BlobStore {
  readonly kind = "s3";
  readonly #bucket: Bucket;
  readonly #signer;
  readonly #uploading: Uploading;
  readonly #attempts: number;
  readonly #witnesses = new Witnesses();

  constructor(options: S3Options, unsentBytes: number) {
    this.#bucket = new Bucket(options);
    const { client } = this.#bucket;
    this.#signer = createSigner(options, () => client.config.region());
    this.#attempts = options.maxAttempts;
    this.#uploading = {
      client,
      partSize: options.partSize,
      encryption: {
        ...(options.serverSideEncryption !== undefined && { ServerSideEncryption: options.serverSideEncryption }),
        ...(options.kmsKeyId !== undefined && { SSEKMSKeyId: options.kmsKeyId }),
      },
      checksums: options.checksums === "when-supported",
      gate: new Gate(unsentBytes),
      spare: [],
      live: new Set(),
      background: new Set(),
    };
  }

  async create(cache: string): Promise<BlobWriter> {
    const name = this.#bucket.blob(cache);
    return new S3Writer(this.#uploading, this.#bucket.object(name)!, name);
  }

  async open(name: string, size: number): Promise<BlobReader> {
    const { client } = this.#bucket;
    const object = this.#bucket.object(name);
    if (!object) throw new MissingBlob(name);
    const head = () => client.send(new HeadObjectCommand(object));
    const { ContentLength: held = 0 } = await head().catch(async (error: unknown) => {
      if (statusOf(error) !== 404) throw error;
      // A bucket that was away a moment ago had nothing either: only what a bucket lacks that is there is lost.
      await this.#assertBucket(name);
      return head().catch((again: unknown) => Promise.reject(statusOf(again) === 404 ? new MissingBlob(name) : again));
    });
    this.#witnesses.seen(name);
    if (held < size) throw new TruncatedBlob(name, held, size);
    return new S3Reader({ client, object, name, size, attempts: this.#attempts, assertBucket: () => this.#assertBucket(name) });
  }

  async remove(name: string): Promise<void> {
    const object = this.#bucket.object(name);
    if (!object) return;
    this.#witnesses.removed(name);
    await this.#bucket.client.send(new DeleteObjectCommand(object)).catch((error: unknown) => {
      if (nameOf(error) !== "NoSuchKey") throw error;
    });
  }

  async *list(): AsyncIterable<StoredBlob> {
    let page: ListObjectsV2CommandOutput | undefined;
    do {
      page = await this.#bucket.client.send(new ListObjectsV2Command({
        Bucket: this.#bucket.name, Prefix: this.#bucket.prefix, ContinuationToken: page?.NextContinuationToken,
      }));
      for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
        const name = this.#bucket.blobOf(Key);
        if (name !== undefined) yield { name, size: Size, modified: LastModified?.getTime() ?? 0 };
      }
    } while (page.NextContinuationToken !== undefined);
  }

  async sweep(olderThan: number): Promise<number> {
    const before = Date.now() - olderThan;
    let aborted = 0;
    let page: ListMultipartUploadsCommandOutput | undefined;
    do {
      page = await this.#bucket.client.send(new ListMultipartUploadsCommand({
        Bucket: this.#bucket.name, Prefix: this.#bucket.prefix, KeyMarker: page?.NextKeyMarker, UploadIdMarker: page?.NextUploadIdMarker,
      }));
      for (const { Key = "", UploadId = "", Initiated } of page.Uploads ?? []) {
        if (this.#bucket.blobOf(Key) === undefined || this.#uploading.live.has(UploadId)) continue;
        if ((Initiated?.getTime() ?? 0) <= before && (await this.#abortUpload(Key, UploadId))) aborted++;
      }
    } while (page.IsTruncated);
    return aborted;
  }

  async capacity(): Promise<undefined> {
    return undefined;
  }

  async presign(name: string, seconds: number): Promise<string> {
    const object = this.#bucket.object(name);
    if (!object) throw new MissingBlob(name);
    return getSignedUrl(this.#signer, new GetObjectCommand(object), { expiresIn: Math.min(seconds, LONGEST_URL) });
  }

  async close(): Promise<void> {
    await Promise.all(this.#uploading.background);
    this.#bucket.client.destroy();
    this.#signer.destroy();
  }

  /** A missing bucket is a mistake of the set-up, not the loss of every blob; nor is one that holds nothing we know. */
  async #assertBucket(lost: string): Promise<void> {
    const { client, name } = this.#bucket;
    await client.send(new HeadBucketCommand({ Bucket: name })).catch((error: unknown) => {
      // Whoever may not ask is told so only of a bucket that exists.
      if (statusOf(error) !== 403) throw error;
    });
    await this.#witnesses.confirm(lost, (witness) =>
      client.send(new HeadObjectCommand(this.#bucket.object(witness)!)).then(() => true, (error: unknown) => (statusOf(error) === 404 ? false : Promise.reject(error))));
  }

  /** False when somebody else ended it first. */
  async #abortUpload(Key: string, UploadId: string): Promise<boolean> {
    try {
      await this.#bucket.client.send(new AbortMultipartUploadCommand({ Bucket: this.#bucket.name, Key, UploadId }));
      return true;
    } catch (error) {
      if (nameOf(error) === "NoSuchUpload") return false;
      throw error;
    }
  }
}

import crypto from "node:crypto";
import { S3Client } from "@aws-sdk/client-s3";
import { createClient } from "./client.ts";
import type { S3Options } from "./options.ts";

const CACHE = /^[a-z0-9][a-z0-9-]{0,62}$/;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The bucket and the names in it: a blob `<cache>/<uuid>` is the object `<prefix>/<cache>/<uuid>`. */
export class Bucket {
  readonly client: S3Client;
  readonly name: string;
  readonly prefix: string;

  constructor(options: S3Options) {
    this.client = createClient(options);
    this.name = options.bucket;
    this.prefix = options.prefix === undefined ? "" : `${options.prefix.replace(/\/$/, "")}/`;
  }

  /** A new name. @throws for something that is no name of a cache */
  blob(cache: string): string {
    if (!CACHE.test(cache)) throw new Error("not the name of a cache");
    return `${cache}/${crypto.randomUUID()}`;
  }

  /** The object of a blob, for a request; undefined for a name this store never gives, which therefore names nothing. */
  object(name: string): { Bucket: string; Key: string } | undefined {
    return NAME.test(name) ? { Bucket: this.name, Key: this.prefix + name } : undefined;
  }

  /** The blob of an object; undefined for an object that is not ours. */
  blobOf(key: string): string | undefined {
    const name = key.slice(this.prefix.length);
    return key.startsWith(this.prefix) && NAME.test(name) ? name : undefined;
  }
}

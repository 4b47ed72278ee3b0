import type { Static } from "typebox";
import { S3Options } from "../storage/s3/options.ts";
import { flag, map, oneOf, optional, section, size, text } from "./fields.ts";

const Storage = section("A place for blobs too large for the database.", {
  type: oneOf(["filesystem", "s3"], { default: "filesystem", description: "Where it keeps blobs: in a directory or in a bucket." }),
  path: optional(text({ description: "Only with type filesystem: the directory. Default for the storage named default: blobs in the data directory." })),
  s3: optional(S3Options),
  redirect: flag({
    default: false,
    description: "Only with type s3: answer large downloads with a redirect to a presigned URL of the bucket. Clients must reach the bucket.",
  }),
  readCache: section("Only with type s3: copies on a local disk of what was read lately. Downloads that are redirected don't pass it.", {
    path: optional(text({ description: "Its directory, for this server alone. Default: read-cache and the storage's name in the data directory." })),
    size: size({ default: "0", description: "Bytes it may take; blobs larger than a tenth of that (less with several processes) are not kept. 0 turns it off." }),
  }),
});

export const Storages = map(Storage, { default: { default: {} }, description: "Storages by name. Default: one named default in the data directory." });

export type StorageSettings = Static<typeof Storage>;

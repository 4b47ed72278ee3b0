import Type, { type Static } from "typebox";
import { duration, flag, integer, kind, list, oneOf, optional, section, size, text } from "../../config/fields.ts";
import { HTTP_URL, isLoopback } from "../../config/kinds.ts";

const MiB = 1024 * 1024;

/** Settings of a storage in a bucket. */
export const S3Options = section("A bucket of S3 or of a server that speaks its protocol.", {
  bucket: text({ description: "Name of the bucket; it must exist." }),
  endpoint: optional(kind(HTTP_URL, { description: "URL of the service. Default: AWS." })),
  publicEndpoint: optional(kind(HTTP_URL, { description: "URL under which clients reach the service, for presigned URLs. Default: endpoint." })),
  region: optional(text({ description: "Region of the bucket. Default: looked up." })),
  pathStyle: flag({ default: false, description: "Whether the bucket stands in the path and not in the host name; most services but AWS need it." }),
  prefix: optional(Type.Unsafe<string>({
    type: "string",
    pattern: "^[0-9A-Za-z!_.*'()-]+(/[0-9A-Za-z!_.*'()-]+)*/?$",
    maxLength: 500,
    description: "Start of the names of all objects, so that a bucket can be shared.",
  })),
  accessKeyId: optional(text({ description: "Access key. Default: the usual chain (environment, profile, web identity, instance)." })),
  secretAccessKey: optional(text({ format: "password", description: "Secret of the access key." })),
  sessionToken: optional(text({ format: "password", description: "Session token of a temporary access key." })),
  credentialsEndpoint: optional(kind(HTTP_URL, { description: "URL that answers temporary credentials as a container's metadata service does." })),
  serverSideEncryption: optional(oneOf(["AES256", "aws:kms"], { description: "How the service encrypts new objects. Default: what the bucket says." })),
  kmsKeyId: optional(text({ description: "Only with serverSideEncryption aws:kms: the key. Default: the service's own." })),
  excludeHeadersFromSigning: list(text({ description: "Name of a header." }), {
    default: [],
    maxItems: 20,
    description: "Headers that are sent but not signed, for services and proxies that change them.",
  }),
  checksums: oneOf(["when-supported", "when-required"], {
    default: "when-supported",
    description: "Whether uploads carry a CRC; when-required for services that don't know it.",
  }),
  partSize: size({ default: "8MiB", description: "Larger bodies are uploaded in parts of this size, 5MiB to 64MiB; every upload under way holds one in memory." }),
  connectTimeout: duration({ default: "2s", description: "Longest time for a connection to be made." }),
  requestTimeout: duration({ default: "30s", description: "Longest time until a request is answered, its body sent included." }),
  idleTimeout: duration({ default: "30s", description: "Longest silence on a connection." }),
  maxAttempts: integer(1, 10, { default: 3, description: "How often a request is tried in all." }),
});
export type S3Options = Static<typeof S3Options>;

/** What fields say wrong together: name of the field and what was expected. */
export function s3Problems(options: S3Options): { field: keyof S3Options; message: string }[] {
  const problems: { field: keyof S3Options; message: string }[] = [];
  const add = (field: keyof S3Options, message: string) => problems.push({ field, message });
  if (options.secretAccessKey !== undefined && options.accessKeyId === undefined) add("accessKeyId", "is missing; secretAccessKey needs it");
  if (options.accessKeyId !== undefined && options.secretAccessKey === undefined) add("secretAccessKey", "is missing; accessKeyId needs it");
  if (options.sessionToken !== undefined && options.accessKeyId === undefined) add("sessionToken", "needs accessKeyId and secretAccessKey");
  if (options.credentialsEndpoint !== undefined) {
    if (options.accessKeyId !== undefined) add("credentialsEndpoint", "is of no use beside accessKeyId");
    if (!isPrivate(new URL(options.credentialsEndpoint))) add("credentialsEndpoint", "expected https, or http on loopback or a link-local address; its answer is secret");
  }
  if (options.kmsKeyId !== undefined && options.serverSideEncryption !== "aws:kms") add("kmsKeyId", "needs serverSideEncryption aws:kms");
  if (options.partSize < 5 * MiB || options.partSize > 64 * MiB) add("partSize", "expected a size from 5MiB to 64MiB");
  return problems;
}

/** Whether nobody but this machine and its host sees a request to this URL. */
function isPrivate(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return url.protocol === "https:" || isLoopback(host) || host.startsWith("169.254.") || host === "fd00:ec2::23";
}

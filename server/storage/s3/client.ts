import { GetBucketLocationCommand, HeadBucketCommand, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { endpointCredentials } from "./credentials.ts";
import { headerOf, statusOf } from "./errors.ts";
import type { S3Options } from "./options.ts";

/** What the SDK is told for these settings, but for the region. */
export function clientConfig(options: S3Options): S3ClientConfig {
  const agent = { keepAlive: true, maxSockets: 128 };
  const checksums = options.checksums === "when-supported" ? "WHEN_SUPPORTED" : "WHEN_REQUIRED";
  const credentials = credentialsOf(options);
  return {
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    ...(credentials !== undefined && { credentials }),
    forcePathStyle: options.pathStyle,
    maxAttempts: options.maxAttempts,
    requestChecksumCalculation: checksums,
    // Reads are ranges, which have no checksum; a presigned URL would demand one of the client.
    responseChecksumValidation: "WHEN_REQUIRED",
    // Waiting for a "continue" costs a round trip and a new connection for every part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: options.connectTimeout,
      requestTimeout: options.requestTimeout,
      throwOnRequestTimeout: true,
      socketTimeout: options.idleTimeout,
      httpAgent: agent,
      httpsAgent: agent,
    },
  };
}

function credentialsOf(options: S3Options): S3ClientConfig["credentials"] {
  const { accessKeyId, secretAccessKey, sessionToken, credentialsEndpoint, connectTimeout } = options;
  if (accessKeyId !== undefined && secretAccessKey !== undefined) return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
  if (credentialsEndpoint !== undefined) return endpointCredentials(credentialsEndpoint, connectTimeout);
  return undefined;
}

/** A client for these settings. Makes no request; an absent region is looked up with the first one. */
export function createClient(options: S3Options): S3Client {
  const client = new S3Client({ ...clientConfig(options), region: options.region ?? lookedUp(options) });
  if (options.excludeHeadersFromSigning.length > 0) leaveUnsigned(client, options.excludeHeadersFromSigning);
  return client;
}

/** A client that only signs URLs, as clients have to call them. */
export function createSigner(options: S3Options, region: () => Promise<string>): S3Client {
  return new S3Client({ ...clientConfig(options), region, ...(options.publicEndpoint !== undefined && { endpoint: options.publicEndpoint }) });
}

type Next<A, O> = (args: A) => Promise<O>;
type Sending = { request: unknown };
type HttpRequest = { headers: Record<string, string> };

/** Takes headers off a request before it is signed and puts them back before it is sent. */
function leaveUnsigned(client: S3Client, names: readonly string[]): void {
  const unsigned = new Set(names.map((name) => name.toLowerCase()));
  const kept = new WeakMap<object, Record<string, string>>();
  const hide = <A extends Sending, O>(next: Next<A, O>, context: object): Next<A, O> => (args) => {
    const { headers } = args.request as HttpRequest;
    const hidden = Object.fromEntries(Object.entries(headers).filter(([name]) => unsigned.has(name.toLowerCase())));
    for (const name of Object.keys(hidden)) delete headers[name];
    kept.set(context, hidden);
    return next(args);
  };
  const restore = <A extends Sending, O>(next: Next<A, O>, context: object): Next<A, O> => (args) => {
    Object.assign((args.request as HttpRequest).headers, kept.get(context));
    return next(args);
  };
  client.middlewareStack.addRelativeTo(hide, { name: "hideUnsignedHeaders", relation: "before", toMiddleware: "httpSigningMiddleware" });
  client.middlewareStack.addRelativeTo(restore, { name: "restoreUnsignedHeaders", relation: "after", toMiddleware: "httpSigningMiddleware" });
}

/** A provider of the bucket's region which asks once; a lookup that got no answer is tried again by the next request. */
function lookedUp(options: S3Options): () => Promise<string> {
  let region: Promise<string> | undefined;
  return () => {
    if (!region) {
      region = lookUp(options);
      region.catch(() => (region = undefined));
    }
    return region;
  };
}

async function lookUp(options: S3Options): Promise<string> {
  // AWS answers there for buckets of all regions; other services take any region for a look-up.
  const client = createClient({ ...options, region: "us-east-1" });
  try {
    const named = await client.send(new HeadBucketCommand({ Bucket: options.bucket })).then(
      (answer) => answer.BucketRegion,
      // A refusal names the region too: 301 elsewhere, 403 without the right to list.
      (error: unknown) => refused(error) && headerOf(error, "x-amz-bucket-region"),
    );
    if (named) return named;
    const location = await client.send(new GetBucketLocationCommand({ Bucket: options.bucket })).then(
      (answer) => answer.LocationConstraint,
      (error: unknown) => void refused(error),
    );
    return location === "EU" ? "eu-west-1" : location || "us-east-1";
  } finally {
    client.destroy();
  }
}

/** True for an answer that will stay the same; throws all other errors. */
function refused(error: unknown): true {
  const status = statusOf(error);
  if (status === undefined || status >= 500) throw error;
  return true;
}

import { describe, expect, test } from "vitest";
import { check } from "../../config/check.ts";
import { Problems } from "../../config/problems.ts";
import { openS3 } from "../s3.ts";
import { Bucket } from "./bucket.ts";
import { clientConfig } from "./client.ts";
import { S3Options, s3Problems } from "./options.ts";

function resolve(raw: Record<string, unknown>): { options: S3Options; problems: string[] } {
  const problems = new Problems();
  const options = check(S3Options, raw, { path: "s3", field: "" }, problems) as S3Options;
  return { options, problems: problems.lines() };
}
const options = (raw: Record<string, unknown> = {}): S3Options => resolve({ bucket: "b", ...raw }).options;
const wrong = (raw: Record<string, unknown>) => s3Problems(options(raw)).map((problem) => problem.field);

describe("settings", () => {
  test("only the bucket has no default", () => {
    expect(resolve({}).problems).toHaveLength(1);
    expect(resolve({ bucket: "b" }).problems).toEqual([]);
    expect(options()).toMatchObject({ pathStyle: false, checksums: "when-supported", partSize: 8 << 20, connectTimeout: 2000, requestTimeout: 30_000, idleTimeout: 30_000, maxAttempts: 3 });
    expect(s3Problems(options())).toEqual([]);
  });

  test.each(["/a", "a//b", "a b", "../a?", "ä"])("%j is no prefix", (prefix) => {
    expect(resolve({ bucket: "b", prefix }).problems).toHaveLength(1);
  });

  test.each<[string, Record<string, unknown>, string[]]>([
    ["half an access key", { accessKeyId: "a" }, ["secretAccessKey"]],
    ["the other half", { secretAccessKey: "s" }, ["accessKeyId"]],
    ["a session token alone", { sessionToken: "t" }, ["sessionToken"]],
    ["two sources of credentials", { accessKeyId: "a", secretAccessKey: "s", credentialsEndpoint: "https://x.example" }, ["credentialsEndpoint"]],
    ["credentials over a foreign network in clear", { credentialsEndpoint: "http://10.0.0.1/role" }, ["credentialsEndpoint"]],
    ["a KMS key without KMS", { kmsKeyId: "k", serverSideEncryption: "AES256" }, ["kmsKeyId"]],
    ["parts the protocol refuses", { partSize: "4MiB" }, ["partSize"]],
    ["parts that fill the memory", { partSize: "1GiB" }, ["partSize"]],
  ])("%s is refused", (_what, raw, fields) => {
    expect(wrong(raw)).toEqual(fields);
    expect(() => openS3(options(raw))).toThrow(fields[0]);
  });

  test.each(["https://role.example/x", "http://169.254.170.2/v2", "http://[fd00:ec2::23]/v1/credentials", "http://127.0.0.1:9911/role", "http://[::1]/role"])(
    "credentials may come from %s",
    (credentialsEndpoint) => expect(wrong({ credentialsEndpoint })).toEqual([]),
  );
});

describe("what the SDK is told", () => {
  test("nothing of credentials and endpoint means its own chain and AWS", () => {
    const config = clientConfig(options());
    expect(config).not.toHaveProperty("credentials");
    expect(config).not.toHaveProperty("endpoint");
    expect(config).toMatchObject({ forcePathStyle: false, maxAttempts: 3, requestChecksumCalculation: "WHEN_SUPPORTED", responseChecksumValidation: "WHEN_REQUIRED" });
  });

  test("settings are handed on", () => {
    const config = clientConfig(options({
      endpoint: "https://s3.example", pathStyle: true, accessKeyId: "a", secretAccessKey: "s", sessionToken: "t",
      checksums: "when-required", connectTimeout: "1s", requestTimeout: "10s", idleTimeout: "5s", maxAttempts: 7,
    }));
    expect(config).toMatchObject({
      endpoint: "https://s3.example", forcePathStyle: true, credentials: { accessKeyId: "a", secretAccessKey: "s", sessionToken: "t" },
      requestChecksumCalculation: "WHEN_REQUIRED", maxAttempts: 7,
      requestHandler: { connectionTimeout: 1000, requestTimeout: 10_000, throwOnRequestTimeout: true, socketTimeout: 5000 },
    });
  });
});

describe("names", () => {
  test("a blob is named by its cache and chance, and lies under the prefix", () => {
    const bucket = new Bucket(options({ prefix: "team/cache/" }));
    const name = bucket.blob("default");
    expect(name).toMatch(/^default\/[0-9a-f-]{36}$/);
    expect(bucket.blob("default")).not.toBe(name);
    expect(bucket.object(name)).toEqual({ Bucket: "b", Key: `team/cache/${name}` });
    expect(bucket.blobOf(`team/cache/${name}`)).toBe(name);
  });

  test.each(["other/default/", "team/cache2/default/", "team/cache/Default/", "team/cache/default/x/"])("%s… is not ours", (start) => {
    const bucket = new Bucket(options({ prefix: "team/cache" }));
    expect(bucket.blobOf(`${start}00000000-0000-0000-0000-000000000000`)).toBeUndefined();
  });

  test("a prefix with and without a slash at its end is the same", () => {
    expect(new Bucket(options({ prefix: "a/b" })).prefix).toBe(new Bucket(options({ prefix: "a/b/" })).prefix);
    expect(new Bucket(options()).prefix).toBe("");
  });
});

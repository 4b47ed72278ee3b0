import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { check } from "../../config/check.ts";
import { Problems } from "../../config/problems.ts";
import { openS3 } from "../s3.ts";
import { MissingBlob, type BlobStore } from "../store.ts";
import { S3Options } from "./options.ts";

// What a service gets to see, and what its odder answers come to. Whether real services agree is for test/s3 to say.
let server: Server;
let seen: { line: string; headers: IncomingMessage["headers"] }[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const stores: BlobStore[] = [];

beforeEach(async () => {
  seen = [];
  answer = (_request, response) => response.setHeader("etag", '"e"').end();
  server = createServer((request, response) => {
    seen.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    void text(request).then(() => answer(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function open(raw: Record<string, unknown> = {}): BlobStore {
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const values = { bucket: "b", endpoint, pathStyle: true, region: "eu-north-1", accessKeyId: "a", secretAccessKey: "s", maxAttempts: 1, ...raw };
  const problems = new Problems();
  const store = openS3(check(S3Options, values, { path: "s3", field: "" }, problems) as S3Options);
  stores.push(store);
  return store;
}
async function put(store: BlobStore, bytes = Buffer.from("x")): Promise<string> {
  const writer = await store.create("default");
  await writer.write(bytes);
  return writer.commit("");
}
const refuse = (status: number, code: string) => (_request: IncomingMessage, response: ServerResponse) =>
  void response.writeHead(status, { "content-type": "application/xml" }).end(`<Error><Code>${code}</Code><Message>no</Message></Error>`);
const NAME = "default/00000000-0000-0000-0000-000000000000";

test("a small blob is one PUT with a CRC, signed for the region", async () => {
  const name = await put(open({ prefix: "p" }));
  expect(seen.map((one) => one.line)).toEqual([`PUT /b/p/${name}?x-id=PutObject`]);
  expect(seen[0]!.headers).toMatchObject({ "content-length": "1", "x-amz-checksum-crc32": "jNwWgw==" });
  expect(seen[0]!.headers.authorization).toContain("/eu-north-1/s3/aws4_request");
  expect(seen[0]!.headers).not.toHaveProperty("expect");
});

test("no CRC is sent when only required ones are wanted", async () => {
  await put(open({ checksums: "when-required" }));
  expect(Object.keys(seen[0]!.headers).filter((name) => name.includes("checksum"))).toEqual([]);
});

test("session token and encryption are sent", async () => {
  await put(open({ sessionToken: "temporary", serverSideEncryption: "aws:kms", kmsKeyId: "key-1" }));
  expect(seen[0]!.headers).toMatchObject({
    "x-amz-security-token": "temporary", "x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
  });
});

test("excluded headers are sent but not signed", async () => {
  await put(open({ excludeHeadersFromSigning: ["Amz-Sdk-Request", "x-amz-user-agent"] }));
  const { authorization = "", ...headers } = seen[0]!.headers;
  expect(headers).toHaveProperty("amz-sdk-request");
  expect(authorization).toContain("amz-sdk-invocation-id");
  expect(authorization).not.toContain("amz-sdk-request");
});

test("a presigned URL names the public endpoint and is signed for it", async () => {
  const store = open({ publicEndpoint: "https://cache-files.example" });
  const url = new URL(await store.presign!(NAME, 120));
  expect(url.origin + url.pathname).toBe(`https://cache-files.example/b/${NAME}`);
  expect(Object.fromEntries(url.searchParams)).toMatchObject({ "X-Amz-Expires": "120", "X-Amz-SignedHeaders": "host" });
  expect(url.searchParams.has("x-amz-checksum-mode")).toBe(false);
  expect(seen).toEqual([]);
});

test.each<[string, (request: IncomingMessage, response: ServerResponse) => void, string]>([
  ["a look-up of the bucket", (_request, response) => void response.setHeader("x-amz-bucket-region", "ap-south-2").end(), "ap-south-2"],
  ["a redirect", (_request, response) => void response.writeHead(301, { "x-amz-bucket-region": "eu-west-3" }).end(), "eu-west-3"],
  ["a refusal that names it", (_request, response) => void response.writeHead(403, { "x-amz-bucket-region": "eu-west-2" }).end(), "eu-west-2"],
  ["the bucket's location", (request, response) => {
    if (request.method === "HEAD") return void response.end();
    response.setHeader("content-type", "application/xml").end('<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">EU</LocationConstraint>');
  }, "eu-west-1"],
  ["nothing but refusals", refuse(403, "AccessDenied"), "us-east-1"],
])("the region comes from %s, asked for once", async (_from, reply, region) => {
  answer = (request, response) => (request.method === "PUT" ? void response.end() : reply(request, response));
  const store = open({ region: undefined });
  await Promise.all([put(store), put(store)]);
  const puts = seen.filter((one) => one.line.startsWith("PUT"));
  expect(puts.map((one) => one.headers.authorization!.split("/")[2])).toEqual([region, region]);
  expect(seen.filter((one) => one.line.startsWith("HEAD"))).toHaveLength(1);
});

test("a look-up of the region that got no answer is tried again", async () => {
  answer = refuse(503, "SlowDown");
  const store = open({ region: undefined });
  await expect(put(store)).rejects.toThrow();
  answer = (_request, response) => response.setHeader("x-amz-bucket-region", "eu-west-1").end();
  await put(store);
  expect(seen.at(-1)!.headers.authorization).toContain("/eu-west-1/");
});

test.each(["XMinioStorageFull", "QuotaExceeded"])("%s reads as a full disk", async (code) => {
  answer = refuse(507, code);
  await expect(put(open())).rejects.toMatchObject({ code: "ENOSPC" });
});

test("a blob that goes missing after it was opened is a missing blob", async () => {
  answer = (_request, response) => response.setHeader("content-length", "10").end();
  const reader = await open().open(NAME, 10);
  const refusal = refuse(404, "NoSuchKey");
  answer = (request, response) => (request.method === "HEAD" ? void response.end() : refusal(request, response));
  await expect(reader.read(0, 10, () => undefined)).rejects.toThrow(MissingBlob);
});

test("a bucket that is away is an error even though the answer for the blob is 404 as well", async () => {
  answer = (_request, response) => response.writeHead(404).end();
  const error = await open().open(NAME, 10).catch((reason: unknown) => reason);
  expect(error).not.toBeInstanceOf(MissingBlob);
});

test("a bucket that holds nothing any more is an error, before and in the middle of a blob", async () => {
  answer = (_request, response) => response.setHeader("content-length", "10").end();
  const store = open();
  const other = `${NAME.slice(0, -1)}1`;
  for (const name of [other, NAME]) await store.open(name, 10);
  const reader = await store.open(NAME, 10);
  const refusal = refuse(404, "NoSuchKey");
  answer = (request, response) => (request.url!.split("?")[0]!.replace(/\/$/, "") === "/b" ? void response.end() : refusal(request, response));
  await expect(store.open(NAME, 10)).rejects.toThrow("other blobs");
  await expect(reader.read(0, 10, () => undefined)).rejects.toThrow("other blobs");
});

test("without the right to look at the bucket a missing blob is still one", async () => {
  answer = (request, response) => response.writeHead(request.url === `/b/${NAME}` ? 404 : 403).end();
  await expect(open().open(NAME, 10)).rejects.toThrow(MissingBlob);
});

test("a service that ignores ranges is not believed", async () => {
  answer = (request, response) => response.setHeader("content-length", "10").end(request.method === "GET" ? "0123456789" : undefined);
  const reader = await open().open(NAME, 10);
  await expect(reader.read(3, 5, () => undefined)).rejects.toThrow("range");
});

test("an upload in parts whose end is refused in a 200 is a failure, and is aborted", async () => {
  answer = (request, response) => {
    response.setHeader("content-type", "application/xml").setHeader("etag", '"e"');
    const { url = "", method } = request;
    if (method === "POST" && url.includes("uploads")) return response.end("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>");
    response.end(method === "POST" ? "<Error><Code>InternalError</Code><Message>no</Message></Error>" : "");
  };
  const store = open({ partSize: "5MiB" });
  await expect(put(store, Buffer.alloc(6 << 20))).rejects.toThrow("no");
  await store.close();
  expect(seen.filter((one) => one.line.startsWith("DELETE")).map((one) => one.line.replace(/^.*uploadId/, "uploadId"))).toHaveLength(1);
});

test("credentials that don't come are an error of the write", async () => {
  answer = (_request, response) => response.writeHead(500).end();
  const credentialsEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/role`;
  await expect(put(open({ accessKeyId: undefined, secretAccessKey: undefined, credentialsEndpoint }))).rejects.toThrow("credentials endpoint answered 500");
});

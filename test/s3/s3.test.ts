import crypto from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { ListMultipartUploadsCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { conformance, get, names, put, sha256 } from "../../server/storage/conformance.ts";
import { openS3 } from "../../server/storage/s3.ts";
import { MissingBlob, type BlobStore } from "../../server/storage/store.ts";
import { s3Options, services, type Service } from "./service.ts";

const MiB = 1024 * 1024;

describe.each(services)("%s", (_name, start) => {
  let service: Service;
  const stores: BlobStore[] = [];
  const open = (more: Record<string, unknown> = {}): BlobStore => {
    const store = openS3(s3Options({ ...service.raw, prefix: crypto.randomUUID(), ...more }));
    stores.push(store);
    return store;
  };
  let client: S3Client;
  beforeAll(async () => {
    service = await start();
    const { endpoint, accessKeyId, secretAccessKey } = service.raw as Record<string, string>;
    client = new S3Client({ endpoint: endpoint!, region: "us-east-1", forcePathStyle: true, credentials: { accessKeyId: accessKeyId!, secretAccessKey: secretAccessKey! } });
  });
  afterAll(async () => {
    for (const store of stores) await store.close();
    client.destroy();
    await service.stop();
  });
  const unfinished = async (prefix: string) =>
    (await client.send(new ListMultipartUploadsCommand({ Bucket: "stowhouse", Prefix: prefix }))).Uploads ?? [];

  conformance("S3 store", async () => ({ store: open(), stop: async () => {} }));
  conformance("S3 store without CRCs and prefix", async () => ({ store: open({ checksums: "when-required", prefix: undefined, partSize: "5MiB" }), stop: async () => {} }));

  test("stores with different prefixes share a bucket and see nothing of each other", async () => {
    const [one, two] = [open(), open()];
    const name = await put(one, Buffer.from("one"));
    expect(await names(one)).toEqual([name]);
    expect(await names(two)).toEqual([]);
    await expect(two.open(name, 3)).rejects.toThrow(MissingBlob);
  });

  test("objects of others in the same place are neither listed nor read", async () => {
    const prefix = crypto.randomUUID();
    const store = open({ prefix });
    for (const key of ["notes.txt", "default/notes", "Default/00000000-0000-0000-0000-000000000000"]) {
      await client.send(new PutObjectCommand({ Bucket: "stowhouse", Key: `${prefix}/${key}`, Body: "x" }));
    }
    expect(await names(store)).toEqual([]);
    await expect(store.open("default/notes", 1)).rejects.toThrow(MissingBlob);
  });

  test("more blobs than a page holds are all listed", async () => {
    const store = open();
    const written: string[] = [];
    for (let round = 0; round < 41; round++) written.push(...(await Promise.all(Array.from({ length: 25 }, () => put(store, Buffer.from("x"))))));
    expect(await names(store)).toEqual(written.toSorted());
  });

  test("a presigned URL gives the blob and its ranges to anyone, without another header", async () => {
    const store = open();
    const bytes = crypto.randomBytes(100_000);
    const url = await store.presign!(await put(store, bytes), 3600);
    expect(Number(new URL(url).searchParams.get("X-Amz-Expires"))).toBe(300);
    expect(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(bytes)).toBe(true);
    const part = await fetch(url, { headers: { range: "bytes=10-19" } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20))).toBe(true);
  });

  test("an aborted upload in parts leaves no multipart upload", async () => {
    const prefix = crypto.randomUUID();
    const store = open({ prefix });
    const writer = await store.create("default");
    await writer.write(crypto.randomBytes(20 * MiB));
    await writer.abort();
    expect(await unfinished(prefix)).toEqual([]);
  });

  test("what a killed process left unfinished is swept by another", async () => {
    const prefix = crypto.randomUUID();
    const killed = open({ prefix });
    const writer = await killed.create("default");
    await writer.write(crypto.randomBytes(20 * MiB));
    await expect.poll(async () => (await unfinished(prefix)).length).toBe(1);
    expect(await open({ prefix }).sweep(0)).toBe(1);
    expect(await unfinished(prefix)).toEqual([]);
    await writer.write(crypto.randomBytes(20 * MiB))?.catch(() => {});
    await expect(writer.commit("")).rejects.toThrow();
    expect(await names(killed)).toEqual([]);
  });

  test("the region is looked up when it is not given", async () => {
    const store = open({ region: undefined });
    const bytes = crypto.randomBytes(1000);
    expect((await get(store, await put(store, bytes), 1000)).equals(bytes)).toBe(true);
  });

  test("temporary credentials come from the credentials endpoint", async () => {
    const { accessKeyId, secretAccessKey } = service.raw;
    let asked = 0;
    const metadata = createServer((_request, response) => {
      asked++;
      response.end(JSON.stringify({ AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Expiration: new Date(Date.now() + 3_600_000).toISOString() }));
    });
    await new Promise<void>((resolve) => metadata.listen(0, "127.0.0.1", resolve));
    try {
      const credentialsEndpoint = `http://127.0.0.1:${(metadata.address() as AddressInfo).port}/role`;
      const store = open({ accessKeyId: undefined, secretAccessKey: undefined, credentialsEndpoint });
      const name = await put(store, Buffer.from("hello"));
      expect((await get(store, name, 5)).toString()).toBe("hello");
      expect(asked).toBe(1);
    } finally {
      metadata.close();
    }
  });

  test("headers excluded from signing are sent, and the service believes the signature", async () => {
    const store = open({ excludeHeadersFromSigning: ["Amz-Sdk-Request", "amz-sdk-invocation-id"] });
    const bytes = crypto.randomBytes(9 * MiB);
    expect(sha256(await get(store, await put(store, bytes), bytes.length))).toBe(sha256(bytes));
  });

  test("a missing bucket is an error, not the loss of every blob", async () => {
    const name = await put(open(), Buffer.from("x"));
    const store = open({ bucket: "no-such-bucket" });
    const error = await store.open(name, 1).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(MissingBlob);
    const writer = await store.create("default");
    await writer.write(crypto.randomBytes(9 * MiB));
    await expect(writer.commit("")).rejects.toThrow();
    await writer.abort();
  });

  test("sixteen large uploads at once need no more memory than their parts and the common budget", async () => {
    const store = open({ partSize: "5MiB" });
    const chunk = crypto.randomBytes(MiB);
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    await Promise.all(Array.from({ length: 16 }, async () => {
      const writer = await store.create("default");
      for (let count = 0; count < 24; count++) {
        await writer.write(chunk);
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      }
      await writer.commit("");
    }));
    // 16 parts being filled, 24 MiB on their way, 4 spare parts, and what waits for the collector.
    expect(most).toBeLessThan((16 * 6 + 24 + 20 + 60) * MiB);
  });
});

describe("a service that is away", () => {
  const options = { bucket: "b", endpoint: "http://127.0.0.1:9", pathStyle: true, region: "us-east-1", accessKeyId: "a", secretAccessKey: "s", maxAttempts: 2 };

  test("refuses writes and reads soon, and never says that a blob is missing", async () => {
    const store = openS3(s3Options(options));
    const begun = Date.now();
    const name = "default/00000000-0000-0000-0000-000000000000";
    await expect(store.open(name, 1)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    const writer = await store.create("default");
    await writer.write(Buffer.alloc(9 * MiB));
    await expect(writer.commit("")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await writer.abort();
    await expect(store.remove(name)).rejects.toThrow();
    await expect(names(store)).rejects.toThrow();
    await expect(openS3(s3Options({ ...options, region: undefined })).open(name, 1)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    expect(Date.now() - begun).toBeLessThan(5000);
    await store.close();
  });

  test("costs no more than the request timeout when it accepts and says nothing", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const store = openS3(s3Options({ ...options, endpoint: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`, requestTimeout: "300ms", maxAttempts: 1 }));
    const begun = Date.now();
    await expect(store.open("default/00000000-0000-0000-0000-000000000000", 1)).rejects.toMatchObject({ name: "TimeoutError" });
    expect(Date.now() - begun).toBeLessThan(3000);
    await store.close();
    silent.closeAllConnections();
    silent.close();
  });
});

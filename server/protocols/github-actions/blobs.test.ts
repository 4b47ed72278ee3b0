import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blockListXml, Client, pathOf, startGha, VERSION, type GhaServer } from "../../../test/fixtures/github-actions.ts";

let server: GhaServer;
let client: Client;
let serial = 0;
const fresh = () => `key-${++serial}`;

beforeAll(async () => {
  server = await startGha({ inlineLimit: "1KiB" });
  client = new Client(server, server.write);
});
afterAll(() => server.stop());

async function listening(): Promise<AddressInfo> {
  if (!server.app.server.listening) await server.app.listen({ host: "127.0.0.1", port: 0 });
  return server.app.server.address() as AddressInfo;
}

/** Reserves a key, lets `put` fill it, finalizes and gives back what a restore gets. */
async function uploaded(size: number, put: (url: string) => Promise<void>): Promise<string | undefined> {
  const key = fresh();
  await put(await client.reserve(key));
  const done = await client.finalize(key, size);
  if (done.statusCode !== 200) return `${done.statusCode} ${done.json<{ msg: string }>().msg}`;
  return client.restore(key);
}

describe("putting blobs", () => {
  test("a blob put whole: 201, empty, with a request id", async () => {
    const response = await client.put(await client.reserve(fresh()), "whole");
    expect([response.statusCode, response.body]).toEqual([201, ""]);
    expect(response.headers).toMatchObject({ "x-ms-request-id": expect.stringMatching(/.{36}/), etag: expect.any(String), "last-modified": expect.any(String), "content-length": "0" });
  });

  test("blocks put in any order come in the order of the list, whatever their ids are", async () => {
    expect(await uploaded(9, async (url) => {
      for (const [id, text] of [["zz", "333"], ["mm", "111"], ["aa", "222"]] as const) expect((await client.block(url, id, text)).statusCode).toBe(201);
      expect((await client.blockList(url, "mm", "aa", "zz")).statusCode).toBe(201);
    })).toBe("111222333");
  });

  test("blocks that aren't listed don't count", async () => {
    expect(await uploaded(2, async (url) => {
      for (const id of ["a", "b", "c"]) await client.block(url, id, id.repeat(2));
      await client.blockList(url, "b");
    })).toBe("bb");
  });

  test("a block sent again replaces the first", async () => {
    expect(await uploaded(6, async (url) => {
      await client.block(url, "a", "old");
      await client.block(url, "b", "bbb");
      await client.block(url, "a", "new");
      await client.blockList(url, "a", "b");
    })).toBe("newbbb");
  });

  test("a second list supersedes the first, and may take blocks from it", async () => {
    expect(await uploaded(4, async (url) => {
      await client.block(url, "a", "aa");
      await client.block(url, "b", "bb");
      await client.blockList(url, "a", "b");
      await client.block(url, "c", "cc");
      await client.blockList(url, "c", "a");
    })).toBe("ccaa");
  });

  test("the same list sent again, because its answer was lost, is taken again", async () => {
    expect(await uploaded(2, async (url) => {
      await client.block(url, "a", "aa");
      for (let i = 0; i < 2; i++) expect((await client.blockList(url, "a")).statusCode).toBe(201);
    })).toBe("aa");
  });

  test("a block that arrives after the list changes nothing until it is listed", async () => {
    expect(await uploaded(2, async (url) => {
      await client.block(url, "a", "aa");
      await client.blockList(url, "a");
      await client.block(url, "a", "late");
    })).toBe("aa");
  });

  test("Committed takes what the last list made, Uncommitted what came after it, Latest the newer", async () => {
    const put = async (source: string) => async (url: string) => {
      await client.block(url, "a", "old");
      await client.blockList(url, "a");
      await client.block(url, "a", "new");
      expect((await client.put(`${url}&comp=blocklist`, blockListXml(["a"], source), {})).statusCode).toBe(201);
    };
    expect([await uploaded(3, await put("Committed")), await uploaded(3, await put("Uncommitted")), await uploaded(3, await put("Latest"))]).toEqual(["old", "new", "new"]);
  });

  test("a list with a block nobody sent is refused and changes nothing", async () => {
    expect(await uploaded(2, async (url) => {
      await client.block(url, "a", "aa");
      await client.blockList(url, "a");
      const wrong = await client.blockList(url, "a", "missing");
      expect([wrong.statusCode, wrong.headers["x-ms-error-code"]]).toEqual([400, "InvalidInput"]);
      expect((await client.put(`${url}&comp=blocklist`, blockListXml(["a"], "Uncommitted"), {})).statusCode).toBe(400);
    })).toBe("aa");
  });

  test("a blob put whole supersedes blocks, and blocks a blob", async () => {
    expect(await uploaded(5, async (url) => {
      await client.block(url, "a", "aa");
      await client.blockList(url, "a");
      await client.put(url, "whole");
    })).toBe("whole");
    expect(await uploaded(2, async (url) => {
      await client.put(url, "whole");
      await client.block(url, "a", "aa");
      await client.blockList(url, "a");
    })).toBe("aa");
  });

  test("blocks without a list are no blob", async () => {
    expect(await uploaded(2, async (url) => void (await client.block(url, "a", "aa")))).toMatch(/^400 .*no block list/);
  });

  test("empty blobs, put whole or as an empty list", async () => {
    expect(await uploaded(0, async (url) => void (await client.put(url, "")))).toBe("");
    expect(await uploaded(0, async (url) => void (await client.blockList(url)))).toBe("");
  });

  test("plus signs of a block id that weren't escaped are plus signs", async () => {
    const id = Buffer.from([0xfb, 0xef, 0xbe]).toString("base64");
    expect(id).toContain("+");
    expect(await uploaded(2, async (url) => {
      expect((await client.put(`${url}&comp=block&blockid=${id}`, "aa", {})).statusCode).toBe(201);
      await client.put(`${url}&comp=blocklist`, `<BlockList><Latest>${id}</Latest></BlockList>`, {});
    })).toBe("aa");
  });

  test.each([
    ["a blob of another type", "", { "x-ms-blob-type": "PageBlob" }],
    ["no type", "", {}],
    ["another operation", "&comp=metadata", {}],
    ["a block without an id", "&comp=block", {}],
    ["a block whose id is too long", `&comp=block&blockid=${encodeURIComponent(Buffer.alloc(65).toString("base64"))}`, {}],
    ["a broken list", "&comp=blocklist", {}],
  ])("%s is a bad request", async (_, query, headers) => {
    const response = await client.put((await client.reserve(fresh())) + query, "x", headers as Record<string, string>);
    expect([response.statusCode, response.headers["content-type"], response.headers["x-ms-request-id"]]).toEqual([400, "application/xml", expect.any(String)]);
    expect(response.body).toMatch(/^<\?xml .*<Error><Code>InvalidInput<\/Code><Message>.+<\/Message><\/Error>$/);
  });

  test.each(["GET", "HEAD", "DELETE", "POST"])("%s on a write URL is refused", async (method) => {
    const url = await client.reserve(fresh());
    await client.put(url, "secret");
    const response = await server.app.inject({ method: method as "GET", url });
    expect([response.statusCode, response.headers["allow"]]).toEqual([405, "PUT"]);
    expect(response.body).not.toContain("secret");
  });
});

describe("write URLs", () => {
  const put = async (url: string) => {
    const { statusCode, headers } = await client.put(url, "x");
    return [statusCode, headers["x-ms-error-code"]];
  };

  test("clients may add and reorder parameters", async () => {
    const [path, query] = (await client.reserve(fresh())).split("?") as [string, string];
    expect(await put(`${path}?timeout=30&${query.split("&").toReversed().join("&")}&x=1`)).toEqual([201, undefined]);
  });

  test("end with commit", async () => {
    const key = fresh();
    const url = await client.reserve(key);
    await client.put(url, "x");
    await client.finalize(key, 1);
    expect(await put(url)).toEqual([404, "BlobNotFound"]);
    expect(await client.restore(key)).toBe("x");
  });

  test("are good for one reservation and one time alone", async () => {
    const [a, b] = [await client.reserve(fresh()), await client.reserve(fresh())];
    const [pathA] = a.split("?");
    const [, queryB] = b.split("?");
    const later = a.replace(/se=(\d+)/, (_, se: string) => `se=${Number(se) + 1}`);
    for (const url of [`${pathA}?${queryB}`, pathA!, later, a.replace(/sig=./, "sig=!"), a.replace("/default/", "/other/")]) {
      expect(await put(url)).toEqual(url.includes("/other/") ? [404, "BlobNotFound"] : [403, "AuthenticationFailed"]);
    }
  });

  test("end when the key they were made with is revoked", async () => {
    const made = await server.identity.keys.create({ name: "short", permission: "write" });
    const other = new Client(server, made.key);
    const url = await other.reserve(fresh());
    expect(await put(url)).toEqual([201, undefined]);
    await server.identity.keys.revoke(made.info.id);
    expect(await put(url)).toEqual([403, "AuthenticationFailed"]);
  });
});

describe("reading", () => {
  const body = "0123456789".repeat(1_000);
  let small: string;
  let large: string;

  beforeAll(async () => {
    await client.save("small", "small body");
    await client.save("large", body);
    small = (await client.lookup("small"))!.url;
    large = (await client.lookup("large"))!.url;
  });

  test("GET and HEAD, always with Content-Length", async () => {
    for (const [url, length] of [[small, "10"], [large, "10000"]] as const) {
      const [get, head] = [await client.download(url), await client.download(url, {}, "HEAD")];
      expect([get.statusCode, get.headers["content-length"], get.headers["accept-ranges"]]).toEqual([200, length, "bytes"]);
      expect([head.statusCode, head.headers["content-length"], head.body]).toEqual([200, length, ""]);
    }
  });

  test.each([["range"], ["x-ms-range"]])("%s", async (header) => {
    for (const [url, size] of [[small, 10], [large, 10_000]] as const) {
      const first = await client.download(url, { [header]: "bytes=0-0" });
      expect([first.statusCode, first.headers["content-range"], first.body.length]).toEqual([206, `bytes 0-0/${size}`, 1]);
      expect((await client.download(url, { [header]: "bytes=4-" })).headers["content-range"]).toBe(`bytes 4-${size - 1}/${size}`);
      const beyond = await client.download(url, { [header]: `bytes=${size}-` });
      expect([beyond.statusCode, beyond.headers["content-range"], beyond.headers["x-ms-error-code"]]).toEqual([416, `bytes */${size}`, "InvalidRange"]);
    }
  });

  test("a body in blocks is read across their borders", async () => {
    const key = fresh();
    const url = await client.reserve(key);
    for (let i = 0; i < 5; i++) await client.block(url, `b${i}`, String(i).repeat(2_000));
    await client.blockList(url, "b0", "b1", "b2", "b3", "b4");
    await client.finalize(key, 10_000);
    const read = (await client.lookup(key))!.url;
    expect((await client.download(read, { range: "bytes=1998-4001" })).body).toBe(`00${"1".repeat(2_000)}22`);
    expect((await client.download(read)).headers["content-length"]).toBe("10000");
  });

  test("look-ups shortly after each other give the same URL", async () => {
    expect((await client.lookup("small"))!.url).toBe((await client.lookup("small"))!.url);
  });

  test("hits from RAM without the router are the same answers, and end with the key too", async () => {
    const { port } = await listening();
    const { key, info } = await server.identity.keys.create({ name: "hot", permission: "read" });
    const url = `http://127.0.0.1:${port}${(await new Client(server, key).lookup("small"))!.url}`;
    for (let i = 0; i < 3; i++) {
      const response = await fetch(url);
      expect([response.status, response.headers.get("content-length"), await response.text()]).toEqual([200, "10", "small body"]);
    }
    expect(await (await fetch(url, { headers: { range: "bytes=6-" } })).text()).toBe("body");
    await server.identity.keys.revoke(info.id);
    expect((await fetch(url)).status).toBe(403);
  });

  test("a large body the storage can serve itself is a redirect there; its head is not", async () => {
    await client.save("huge", Buffer.alloc(2 << 20));
    const { url } = (await client.lookup("huge"))!;
    const { bodies } = server.core;
    const real = bodies.presigned.bind(bodies);
    bodies.presigned = () => Promise.resolve("https://storage.example/huge?signature");
    const [get, head] = [await client.download(url), await client.download(url, {}, "HEAD")];
    bodies.presigned = real;
    expect([get.statusCode, get.headers.location]).toEqual([302, "https://storage.example/huge?signature"]);
    expect([head.statusCode, head.headers["content-length"]]).toEqual([200, String(2 << 20)]);
    expect((await client.download(url)).rawPayload.length).toBe(2 << 20);
  });

  test("URLs end with their entry", async () => {
    await client.save("gone", "x");
    const url = (await client.lookup("gone"))!.url;
    expect((await client.download(url)).statusCode).toBe(200);
    const [entry] = await server.core.catalog.list({ cache: "default", read: ["local:main"], write: null, trusted: false, admin: false, actor: "test" }, { prefix: "gone", limit: 1 });
    await server.core.catalog.removeIds([entry!.id], { at: Date.now(), actor: "test", action: "delete", cache: "default", keyspace: "gha", scope: "", key: "", size: 0, result: "ok", address: "" });
    const response = await client.download(url);
    expect([response.statusCode, response.headers["x-ms-error-code"]]).toEqual([404, "BlobNotFound"]);
  });

  test("URLs end with the key they were made with", async () => {
    const made = await server.identity.keys.create({ name: "reader", permission: "read" });
    const url = (await new Client(server, made.key).lookup("small"))!.url;
    expect((await client.download(url)).statusCode).toBe(200);
    await server.identity.keys.revoke(made.info.id);
    expect((await client.download(url)).statusCode).toBe(403);
  });

  test("URLs don't outlive the credential they were made with", async () => {
    const { key } = await server.identity.keys.create({ name: "short", permission: "read", expires: Date.now() + 60_000 });
    const se = Number(new URLSearchParams((await new Client(server, key).lookup("small"))!.url.split("?")[1]).get("se"));
    expect(se).toBeLessThanOrEqual(Date.now() / 1000 + 60);
  });

  test("a URL is good for one entry, one holder and reading alone", async () => {
    const [path, query] = small.split("?") as [string, string];
    const parts = path.split("/");
    const swap = (index: number, value: string) => `${parts.with(index, value).join("/")}?${query}`;
    for (const url of [swap(4, large.split("/")[4]!), swap(5, Buffer.from("anonymous").toString("base64url")), swap(3, "other"), swap(4, "1%0a2"), swap(5, Buffer.from("a\nb").toString("base64url")), path]) {
      expect((await client.download(url)).statusCode).toBe(403);
    }
    expect((await client.put(small.replace("/read/", "/write/"), "x")).statusCode).toBe(404);
  });

  test("no URL holds more of the host than was asked for", async () => {
    const response = await client.send("POST", "/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL", { host: "evil.example/x", "content-type": "application/json" }, JSON.stringify({ key: "small", version: VERSION }));
    const { signed_download_url: url } = response.json<{ signed_download_url: string }>();
    expect(new URL(url).host).not.toContain("evil");
    expect((await client.download(pathOf(url))).statusCode).toBe(200);
  });
});

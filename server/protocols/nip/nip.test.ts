import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KEYSPACE } from "./routes.ts";
import { file, form, metadata, startNip, upload, type NipServer } from "../../../test/fixtures/nip.ts";

let server: NipServer;
beforeAll(async () => void (server = await startNip({ caches: { default: {}, team: {} } })));
afterAll(() => server.stop());

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");
let serial = 0;
const freshKey = () => `key-${++serial}`;
/** Stores an artifact under a new key. */
async function stored(bytes: Buffer | string = "artifact", about: unknown = { name: "vim" }): Promise<string> {
  const key = freshKey();
  expect((await server.post(`/v1/artifacts/${key}`, server.write, upload(bytes, about))).status).toBe(201);
  return key;
}

describe("what the reference server answers (build-tools.md §9)", () => {
  it("is healthy for anyone", async () => {
    const answer = await server.fetch("/v1/health");
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ok" }]);
  });

  it.each(["", "nonsense", "stow_rw_0123456789abcdef"])("refuses everything else to the credential %j", async (key) => {
    for (const path of ["/v1/artifacts/a", "/v1/artifacts/a/metadata", "/v1/download/a", "/v1/artifacts"]) {
      const answer = await server.fetch(path, key);
      expect([answer.status, await answer.json()]).toMatchObject([401, { error: "unauthorized" }]);
    }
    expect((await server.post("/v1/artifacts/a", key, upload("x"))).status).toBe(401);
  });

  it("answers a look-up with the path to download from", async () => {
    const key = await stored();
    const answer = await server.fetch(`/v1/artifacts/${key}`, server.read);
    expect([answer.status, await answer.json()]).toEqual([200, { downloadUrl: `/v1/download/${key}` }]);
    expect((await server.fetch(`/v1/artifacts/${key}`, server.read, { method: "HEAD" })).status).toBe(200);
  });

  it("answers a miss with 404 in JSON, for look-up, metadata and download", async () => {
    for (const path of ["/v1/artifacts/none", "/v1/artifacts/none/metadata", "/v1/download/none"]) {
      const answer = await server.fetch(path, server.read);
      expect([answer.status, await answer.json()]).toMatchObject([404, { error: "not found" }]);
      expect((await server.fetch(path, server.read, { method: "HEAD" })).status).toBe(404);
    }
  });

  it.each([[{ name: "vim", variants: ["python", "ruby"] }], [[1, 2]], ["text"], [null], [1.5]])("keeps metadata of any JSON type: %j", async (about) => {
    const key = await stored("x", about);
    const answer = await server.fetch(`/v1/artifacts/${key}/metadata`, server.read);
    expect([answer.status, answer.headers.get("content-type"), await answer.json()]).toEqual([200, "application/json; charset=utf-8", about]);
    expect(answer.headers.get("x-stowhouse-digest")).toBe(sha256("x"));
  });

  it("sends the artifact with the reference's headers, but no Content-Encoding", async () => {
    const bytes = randomBytes(10_000);
    const answer = await server.fetch(`/v1/download/${await stored(bytes)}`, server.read);
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "application/x-tar", "content-disposition": "inline; filename=artifact.tar.gz", "accept-ranges": "bytes", "content-length": "10000",
      etag: `"${sha256(bytes)}"`, "last-modified": expect.stringMatching(/GMT$/),
    });
    expect(answer.headers.has("content-encoding")).toBe(false);
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it("sends ranges and honours conditions", async () => {
    const path = `/v1/download/${await stored("0123456789")}`;
    const range = await server.fetch(path, server.read, { headers: { range: "bytes=2-4" } });
    expect([range.status, range.headers.get("content-range"), await range.text()]).toEqual([206, "bytes 2-4/10", "234"]);
    const outside = await server.fetch(path, server.read, { headers: { range: "bytes=10-" } });
    expect([outside.status, outside.headers.get("content-range"), await outside.json()]).toMatchObject([416, "bytes */10", { error: "range not satisfiable" }]);
    const same = await server.fetch(path, server.read, { headers: { "if-none-match": `"${sha256("0123456789")}"` } });
    expect(same.status).toBe(304);
    const head = await server.fetch(path, server.read, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "10"]);
  });

  it("answers an upload with 201 and overwrites file and metadata together", async () => {
    const key = await stored("old", { version: 1 });
    const answer = await server.post(`/v1/artifacts/${key}`, server.write, upload("new", { version: 2 }));
    expect([answer.status, await answer.json(), answer.headers.get("etag")]).toEqual([201, { status: "created" }, `"${sha256("new")}"`]);
    expect(await (await server.fetch(`/v1/download/${key}`, server.read)).text()).toBe("new");
    expect(await (await server.fetch(`/v1/artifacts/${key}/metadata`, server.read)).json()).toEqual({ version: 2 });
  });

  it.each(["PUT", "DELETE", "PATCH"])("answers %s with 405 in JSON and the methods that are allowed", async (method) => {
    const answer = await server.fetch("/v1/artifacts/a", server.write, { method });
    expect([answer.status, answer.headers.get("allow"), await answer.json()]).toMatchObject([405, "GET, HEAD, POST", { error: "method not allowed" }]);
    expect((await server.fetch("/v1/download/a", server.write, { method })).headers.get("allow")).toBe("GET, HEAD");
  });

  it.each(["/v1/artifacts/", "/v1/nothing", "/v1/artifacts/a/b/c", "/v1/artifacts/..%2f", "/v1/artifacts/a/metadata/"])("answers the unknown path %s with 404 in JSON", async (path) => {
    const answer = await server.fetch(path, server.read);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "application/json; charset=utf-8"]);
  });
});

describe("an upload", () => {
  const JSON_TEXT = '{"name":"vim"}';
  it.each([
    ["metadata after the file", form(file("x"), metadata(JSON_TEXT))],
    ["metadata before the file", form(metadata(JSON_TEXT), file("x"))],
    ["metadata as a file", form(file("x"), { name: "metadata", filename: "metadata.json", data: JSON_TEXT })],
    ["a file without a file name", form({ name: "file", data: "x" }, metadata(JSON_TEXT))],
    ["fields nobody knows", form({ name: "a", data: "1" }, file("x"), { name: "a", data: "2" }, metadata(JSON_TEXT))],
  ])("is taken with %s", async (_, body) => {
    const key = freshKey();
    expect((await server.post(`/v1/artifacts/${key}`, server.write, body)).status).toBe(201);
    expect(await (await server.fetch(`/v1/download/${key}`, server.read)).text()).toBe("x");
    expect(await (await server.fetch(`/v1/artifacts/${key}/metadata`, server.read)).text()).toBe(JSON_TEXT);
  });

  const broken = upload("x");
  it.each([
    ["no metadata", form(file("x"))],
    ["no file", form(metadata("{}"))],
    ["metadata that is not JSON", form(file("x"), metadata("{name:vim}"))],
    ["empty metadata", form(file("x"), metadata(""))],
    ["metadata that is not UTF-8", form(file("x"), { name: "metadata", data: Buffer.from([0x22, 0xff, 0x22]) })],
    ["two files", form(file("x"), file("y"), metadata("{}"))],
    ["two metadata", form(file("x"), metadata("{}"), metadata("{}"))],
    ["too much of what nobody knows", form({ name: "a", data: Buffer.alloc(70_000) }, file("x"), metadata("{}"))],
    ["a form that ends early", { ...broken, bytes: broken.bytes.subarray(0, -6) }],
    ["another boundary", { ...broken, type: "multipart/form-data; boundary=other" }],
    ["no boundary", { ...broken, type: "multipart/form-data" }],
    ["no form", { type: "application/gzip", bytes: Buffer.from("x") }],
    ["no body", { type: broken.type, bytes: Buffer.alloc(0) }],
  ])("with %s is answered with 400 in JSON, and nothing is stored", async (_, body) => {
    const key = freshKey();
    const answer = await server.post(`/v1/artifacts/${key}`, server.write, body);
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: "bad request", message: expect.any(String) }]);
    expect((await server.fetch(`/v1/artifacts/${key}`, server.read)).status).toBe(404);
  });

  it("that fails leaves what was there", async () => {
    const key = await stored("old", { version: 1 });
    expect((await server.post(`/v1/artifacts/${key}`, server.write, form(file("new"), metadata("nonsense")))).status).toBe(400);
    expect(await (await server.fetch(`/v1/download/${key}`, server.read)).text()).toBe("old");
    expect(await (await server.fetch(`/v1/artifacts/${key}/metadata`, server.read)).json()).toEqual({ version: 1 });
  });

  it("with more than 1 MiB of metadata is answered with 413", async () => {
    const about = (size: number) => form(file("x"), metadata(JSON.stringify("m".repeat(size - 2))));
    expect((await server.post(`/v1/artifacts/${freshKey()}`, server.write, about(1024 * 1024))).status).toBe(201);
    const answer = await server.post(`/v1/artifacts/${freshKey()}`, server.write, about(1024 * 1024 + 1));
    expect([answer.status, await answer.json()]).toMatchObject([413, { error: "too large" }]);
  });

  it("of an empty or a large file comes back as it was", async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.concat([Buffer.from("\r\n--"), randomBytes(3_000_000), Buffer.from("\r\n")])]) {
      const answer = await server.fetch(`/v1/download/${await stored(bytes)}`, server.read);
      expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
    }
  });

  it("whose client leaves in the middle leaves nothing", async () => {
    const key = freshKey();
    const before = files(server.data).length;
    const { type, bytes } = upload(randomBytes(500_000));
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    await once(socket, "connect");
    socket.write(`POST /v1/artifacts/${key} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${server.write}\r\nContent-Type: ${type}\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    await new Promise((sent) => socket.write(bytes.subarray(0, 400_000), sent));
    socket.destroy();
    await expect.poll(() => aborted(server)).toBe(1);
    await expect.poll(() => files(server.data).length).toBe(before);
    expect((await server.fetch(`/v1/artifacts/${key}`, server.read)).status).toBe(404);
  });
});

describe("metadata", () => {
  const about = (size: number) => "m".repeat(size - 2);
  const usage = async () => (await server.core.database.read("usage", { cache: "team" })).reduce((sum, row) => sum + row.bytes, 0);

  it("counts against the quota, and no more once it is gone", async () => {
    const key = await server.key({ permission: "write", caches: ["team"] });
    const before = await usage();
    for (const size of [1_000_000, 500_000]) await server.post("/v1/artifacts/heavy", key, upload("12345", about(size)));
    expect((await usage()) - before).toBe(500_005);
    const { entry } = await server.core.catalog.get({ cache: "team", read: ["local:main"], write: null, trusted: false, admin: false, actor: "test" }, KEYSPACE, "heavy");
    const audit = { at: 1, actor: "test", action: "remove", cache: "team", keyspace: "nip", scope: "", key: "", size: 0, result: "ok", address: "" };
    expect(await server.core.catalog.removeIds([entry!.id], audit)).toMatchObject([{ id: entry!.id, metadata: null }]);
    expect(await usage()).toBe(before);
  });

  it("that is long is not kept in RAM, nor read for a list", async () => {
    const grant = { cache: "default", read: ["local:main"], write: null, trusted: false, admin: false, actor: "test" };
    const [short, long] = [await stored("x", about(100)), await stored("x", about(100_000))];
    const found = async (key: string) => server.core.catalog.get(grant, KEYSPACE, key);
    expect([(await found(short)).slot.live, (await found(long)).slot.live]).toEqual([true, false]);
    expect((await found(long)).entry?.metadata).toHaveLength(100_000);
    expect((await server.core.catalog.list(grant, { keyspace: "nip", limit: 1 }))[0]).toMatchObject({ key: long, metadata: null });
    expect(await (await server.fetch(`/v1/artifacts/${long}/metadata`, server.read)).json()).toHaveLength(99_998);
    expect(await (await server.fetch(`/v1/download/${long}`, server.read)).text()).toBe("x");
  });
});

describe("keys", () => {
  it.each(["vim-9.0+python", "a b", "../../etc/passwd", "a/b/metadata", "%2e%2e", "snow☃man", "x".repeat(512), "-", "con:*?"])("may be %j", async (key) => {
    const path = `/v1/artifacts/${encodeURIComponent(key)}`;
    expect((await server.post(path, server.write, upload(key))).status).toBe(201);
    const { downloadUrl } = (await (await server.fetch(path, server.read)).json()) as { downloadUrl: string };
    expect(await (await server.fetch(downloadUrl, server.read)).text()).toBe(key);
  });

  it.each(["/v1/download/..", "/v1/download/../../../etc/passwd", "/v1/download/..%2f..%2f..%2fetc%2fpasswd", "/v1/download/%2e%2e%2fstowhouse.db", "/v1/download/..\\..", "/c/../v1/health/.."])(
    "name entries, never files: %s",
    async (path) => {
      const { status, body } = await rawGet(path);
      expect([status, body]).toEqual([404, expect.stringContaining('"error"')]);
    },
  );

  it.each(["x".repeat(513), "☃".repeat(171), "a%00b", "a%0Ab", "%zz", "%c3%28", "x".repeat(5000)])("that can't be are answered with 400: %s", async (key) => {
    for (const answer of [await server.fetch(`/v1/artifacts/${key}`, server.read), await server.post(`/v1/artifacts/${key}`, server.write, upload("x"))]) {
      expect([answer.status, answer.headers.get("content-type")]).toEqual([400, "application/json; charset=utf-8"]);
    }
  });
});

describe("trust", () => {
  it("lets a read key read and not write", async () => {
    const answer = await server.post(`/v1/artifacts/${freshKey()}`, server.read, upload("x"));
    expect([answer.status, await answer.json()]).toMatchObject([403, { error: "forbidden" }]);
  });

  it("keeps what another scope writes from readers of main, and lets it shadow main for itself", async () => {
    const pull = await server.key({ permission: "write", scope: "pull:7", reads: ["pull:7", "local:main"] });
    const key = await stored("of main");
    expect((await server.post(`/v1/artifacts/${key}`, pull, upload("of the pull request"))).status).toBe(201);
    expect(await (await server.fetch(`/v1/download/${key}`, server.read)).text()).toBe("of main");
    expect(await (await server.fetch(`/v1/download/${key}`, pull)).text()).toBe("of the pull request");
  });

  it("keeps caches apart, and says the same of a foreign cache as of one that is not there", async () => {
    const team = await server.key({ permission: "write", caches: ["team"] });
    const key = freshKey();
    expect((await server.post(`/v1/artifacts/${key}`, team, upload("x"))).status).toBe(201);
    expect((await server.fetch(`/v1/artifacts/${key}`, server.read)).status).toBe(404);
    const [foreign, absent] = [await server.fetch(`/c/team/v1/artifacts/${key}`, server.read), await server.fetch(`/c/absent/v1/artifacts/${key}`, server.read)];
    expect([foreign.status, await foreign.text()]).toEqual([absent.status, await absent.text()]);
  });
});

describe("mounts", () => {
  it.each(["", "/nip", "/c/default", "/c/default/nip"])("under %j answer with URLs of that mount", async (mount) => {
    const key = await stored("bytes");
    const { downloadUrl } = (await (await server.fetch(`${mount}/v1/artifacts/${key}`, server.read)).json()) as { downloadUrl: string };
    expect(downloadUrl).toBe(`${mount}/v1/download/${key}`);
    expect(await (await server.fetch(downloadUrl, server.read)).text()).toBe("bytes");
    expect((await server.fetch(`${mount}/v1/health`)).status).toBe(200);
  });
});

describe("the list", () => {
  it("shows what the key may read, newest first, page by page", async () => {
    const scoped = await server.key({ permission: "write", scope: "list:one" });
    for (const key of ["a", "b", "c"]) await server.post(`/v1/artifacts/${key}`, scoped, upload(key.repeat(5)));
    const page = async (query: string) => (await (await server.fetch(`/v1/artifacts?${query}`, scoped)).json()) as { artifacts: { key: string; size: number; created: string }[]; next: string | null };
    const first = await page("limit=2");
    expect(first.artifacts).toMatchObject([{ key: "c", size: 5, created: expect.stringMatching(/^\d{4}-/) }, { key: "b" }]);
    const second = await page(`limit=2&before=${first.next}`);
    expect([second.artifacts.map(({ key }) => key), second.next]).toEqual([["a"], null]);
    const others = await (await server.fetch("/v1/artifacts", server.read)).json() as typeof first;
    expect(others.artifacts.some(({ key }) => key === "a" || key === "c")).toBe(false);
  });

  it.each(["limit=0", "limit=x", "before=-1", "limit=1&limit=2"])("refuses %s", async (query) => {
    expect((await server.fetch(`/v1/artifacts?${query}`, server.read)).status).toBe(400);
  });
});

/** Uploads whose client left. */
async function aborted({ metrics }: NipServer): Promise<number> {
  return Number(/stowhouse_requests_total\{protocol="nip",op="upload",result="aborted"\} (\d+)/.exec(await metrics.text())?.[1] ?? 0);
}

/** The file names under a directory. */
function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : []));
}

/** A GET whose path goes out as it is; URL parsers would resolve dots in it. */
async function rawGet(path: string): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(server.url);
  const request = get({ hostname, port, path, agent: false, headers: { authorization: `Bearer ${server.read}` } });
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { status: response.statusCode!, body: await text(response) };
}

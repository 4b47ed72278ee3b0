import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { errors, REFUSALS, type Refusal, type StowError } from "../../core/errors.ts";
import { refusals } from "./refusals.ts";
import { startNip, upload, type NipServer } from "../../../test/fixtures/nip.ts";

const TABLE: Record<Refusal, [error: StowError, status: number, words: string | undefined]> = {
  unauthorized: [errors.unauthorized(), 401, "unauthorized"],
  forbiddenRead: [errors.forbiddenRead(), 403, "forbidden"],
  forbiddenWrite: [errors.forbiddenWrite(), 403, "forbidden"],
  badRequest: [errors.badRequest("no"), 400, "bad request"],
  notFound: [errors.notFound(), 404, "not found"],
  exists: [errors.exists(), 201, undefined],
  tooLarge: [errors.tooLarge("1"), 413, "too large"],
  overQuota: [errors.overQuota(), 507, "over quota"],
  diskFull: [errors.diskFull(), 507, "disk full"],
  rateLimited: [errors.rateLimited(), 429, "too many requests"],
  readFailure: [errors.readFailure(), 503, "unavailable"],
  writeFailure: [errors.writeFailure(), 503, "unavailable"],
  draining: [errors.draining(), 503, "unavailable"],
  badRange: [errors.badRange(), 416, "range not satisfiable"],
};

describe("the status table", () => {
  it.each(REFUSALS)("answers %s as the README says", (refusal) => {
    const [error, status, words] = TABLE[refusal];
    const refused = refusals[refusal](error, undefined as never);
    expect([refused.status, refused.type]).toEqual([status, undefined]);
    expect(JSON.parse(String(refused.body))).toEqual(words ? { error: words, code: error.code, message: error.message } : { status: "created" });
  });
});

describe("a server that can't do what it is asked", () => {
  const PROXY = { trustedProxies: ["127.0.0.0/8"], limits: { requestsPerMinute: 2 } };
  let server: NipServer;
  beforeAll(async () => {
    server = await startNip({ ...PROXY, caches: { default: {}, small: { entrySize: "1KiB" }, full: { quota: "2KiB" } } });
  });
  afterAll(() => server.stop());
  afterEach(() => vi.restoreAllMocks());

  /** Status and words of an answer, the server's health and that nothing was stored along with it. */
  async function refused(answer: Response, path: string, key: string) {
    const { error } = (await answer.json()) as { error: string };
    vi.restoreAllMocks();
    expect((await server.fetch("/v1/health")).status).toBe(200);
    expect((await server.fetch(path, key)).status).toBe(404);
    return [answer.status, error];
  }

  it("says that an entry is too large, before and after its size is known", async () => {
    const key = await server.key({ permission: "write", caches: ["small"] });
    const path = "/v1/artifacts/large";
    for (const size of [1025, 2_000_000]) expect(await refused(await server.post(path, key, upload(Buffer.alloc(size))), path, key)).toEqual([413, "too large"]);
    expect((await server.post(path, key, upload(Buffer.alloc(1024)))).status).toBe(201);
  });

  it.each([
    ["small", "413"],
    ["full", "507"],
  ])("refuses a hopeless body for the cache %s before it is sent", async (cache, status) => {
    const key = await server.key({ permission: "write", caches: [cache] });
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.write(`POST /v1/artifacts/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: ${upload("").type}\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n`);
    const [head] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    expect(head.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it("says that the quota has no room, before and after its size is known", async () => {
    const key = await server.key({ permission: "write", caches: ["full"] });
    for (const size of [4096, 2_000_000]) expect(await refused(await server.post("/v1/artifacts/large", key, upload(Buffer.alloc(size))), "/v1/artifacts/large", key)).toEqual([507, "over quota"]);
  });

  it.each([
    ["ENOSPC", 507, "disk full"],
    ["EIO", 503, "unavailable"],
  ])("says that the database failed with %s", async (code, status, words) => {
    vi.spyOn(server.core.database, "write").mockRejectedValueOnce(Object.assign(new Error("broken"), { code }));
    const path = `/v1/artifacts/${code}`;
    expect(await refused(await server.post(path, server.write, upload("x")), path, server.write)).toEqual([status, words]);
  });

  it.each([
    ["ENOSPC", 507, "disk full"],
    ["EIO", 503, "unavailable"],
  ])("says that the storage failed with %s in the middle of a large body", async (code, status, words) => {
    const store = server.core.stores.get("default")!;
    const create = store.create.bind(store);
    vi.spyOn(store, "create").mockImplementationOnce(async (cache) => {
      const writer = await create(cache);
      return { ...writer, write: () => Promise.reject(Object.assign(new Error("broken"), { code })), commit: (digest) => writer.commit(digest), abort: () => writer.abort() };
    });
    const path = `/v1/artifacts/large-${code}`;
    expect(await refused(await server.post(path, server.write, upload(Buffer.alloc(300_000))), path, server.write)).toEqual([status, words]);
  });

  it("says that it could not read, without giving the entry up", async () => {
    expect((await server.post("/v1/artifacts/read", server.write, upload("x"))).status).toBe(201);
    const read = server.core.database.read.bind(server.core.database);
    vi.spyOn(server.core.database, "read").mockImplementation((name, args) => {
      if (name === "getEntry") throw new Error("disk I/O error");
      return read(name, args);
    });
    for (const path of ["/v1/artifacts/read", "/v1/artifacts/read/metadata", "/v1/download/read"]) {
      const answer = await server.fetch(path, server.read);
      expect([answer.status, await answer.json()]).toMatchObject([503, { error: "unavailable" }]);
    }
    vi.restoreAllMocks();
    expect((await server.fetch("/v1/download/read", server.read)).status).toBe(200);
  });

  it("says when to come again to a client that asks too often", async () => {
    const ask = () => server.fetch("/v1/artifacts/a", server.read, { headers: { "x-forwarded-for": "192.0.2.7" } });
    for (let i = 0; i < 2; i++) expect((await ask()).status).toBe(404);
    const answer = await ask();
    expect([answer.status, await answer.json()]).toMatchObject([429, { error: "too many requests" }]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  it("never loses a write to another of the same key", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => server.post("/v1/artifacts/contended", server.write, upload(`body ${i}`, { i }))));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 201));
    const [body, about] = [await (await server.fetch("/v1/download/contended", server.read)).text(), await (await server.fetch("/v1/artifacts/contended/metadata", server.read)).json()];
    expect(body).toBe(`body ${(about as { i: number }).i}`);
  });
});

import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { defaultConfig } from "../app.ts";
import { openRaw, rawAnswer } from "../../test/fixtures/raw-http.ts";

const WRITE = `Bearer ${KEYS.write}`;

interface Listening extends TestApp {
  readonly url: string;
}

async function start(config: object = {}): Promise<Listening> {
  const app = await startApp(config);
  onTestFinished(() => app.close());
  return { ...app, url: await app.listen() };
}

/** Over a real connection, because the front stands before everything `inject` knows. */
async function get(app: Listening, path: string, authorization = WRITE, headers: Record<string, string> = {}) {
  const answer = await fetch(app.url + path, { headers: { authorization, ...headers } });
  return { status: answer.status, text: await answer.text() };
}

async function put(app: Listening, path: string, body: string, authorization = WRITE): Promise<void> {
  const answer = await fetch(app.url + path, { method: "PUT", body, headers: { authorization } });
  expect(answer.ok, await answer.text()).toBe(true);
}

/** Asks until the front has certainly taken over. */
async function warm(app: Listening, path: string, authorization = WRITE): Promise<void> {
  for (let i = 0; i < 3; i++) expect((await get(app, path, authorization)).status).toBe(200);
}

describe("the hit-only front", () => {
  let shared: Listening;
  let serial = 0;
  /** A path no other test uses. */
  const unique = () => `/plain/plain/k${++serial}`;
  beforeAll(async () => {
    const app = await startApp();
    shared = { ...app, url: await app.listen() };
  });
  afterAll(() => shared.close());

  test("never answers one cache's entry for another", async () => {
    const app = await start({ caches: { other: {} } });
    const { key } = await app.identity.keys.create({ name: "both", permission: "write", caches: ["default", "other"] });
    const both = `Bearer ${key}`;
    await put(app, "/plain/plain/k", "of default", both);
    await put(app, "/c/other/plain/plain/k", "of other", both);
    for (let round = 0; round < 3; round++) {
      expect((await get(app, "/c/other/plain/plain/k", both)).text).toBe("of other");
      expect((await get(app, "/plain/plain/k", both)).text).toBe("of default");
    }
  });

  test("never answers one credential's entry for another", async () => {
    const app = shared;
    const path = unique();
    const other = `Bearer ${(await app.identity.keys.create({ name: "other", permission: "write", caches: ["default"], scope: "team:other" })).key}`;
    await put(app, path, "mine");
    await warm(app, path);
    expect((await get(app, path, other)).status).toBe(404);
    expect((await get(app, path, "Bearer nonsense")).status).toBe(401);
    const nobody = await fetch(app.url + path);
    expect(nobody.status).toBe(401);
    await put(app, path, "theirs", other);
    expect((await get(app, path)).text).toBe("mine");
    expect((await get(app, path, other)).text).toBe("theirs");
  });

  test("never answers after the entry was overwritten", async () => {
    const app = shared;
    const path = unique();
    for (const body of ["one", "two", "three"]) {
      await put(app, path, body);
      await warm(app, path);
      expect((await get(app, path)).text).toBe(body);
    }
  });

  test("never answers after a scope read earlier has got an entry of this name", async () => {
    const app = shared;
    const path = unique();
    const reader = `Bearer ${(await app.identity.keys.create({ name: "r", permission: "write", caches: ["default"], scope: "team:own", reads: ["team:own", "local:main"] })).key}`;
    await put(app, path, "of main");
    await warm(app, path, reader);
    await put(app, path, "own", reader);
    expect((await get(app, path, reader)).text).toBe("own");
  });

  test("never answers after the entry was removed", async () => {
    const app = shared;
    const path = unique();
    await put(app, path, "there");
    await warm(app, path);
    expect((await fetch(app.url + path, { method: "DELETE", headers: { authorization: WRITE } })).status).toBe(204);
    expect((await get(app, path)).status).toBe(404);
  });

  test("never answers after the entry was evicted", async () => {
    const app = shared;
    const path = unique();
    await put(app, path, "there");
    await warm(app, path);
    const [entry] = await app.core.database.scan("listEntries", { cache: "default", limit: 1 });
    await app.core.catalog.removeIds([entry!.id], { at: 1, actor: "server", action: "evict", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "quota", address: "" });
    expect((await get(app, path)).status).toBe(404);
  });

  test("never answers a key that was revoked, nor a URL signed for it", async () => {
    const app = shared;
    const path = unique();
    const { key, info } = await app.identity.keys.create({ name: "short", permission: "write", caches: ["default"] });
    await put(app, path, "there");
    await warm(app, path, `Bearer ${key}`);
    const signed = (await get(app, path.replace("/plain/", "/plain-url/"), `Bearer ${key}`)).text;
    for (let i = 0; i < 3; i++) expect((await fetch(app.url + signed)).status).toBe(200);
    await app.identity.keys.revoke(info.id);
    expect((await get(app, path, `Bearer ${key}`)).status).toBe(401);
    expect((await fetch(app.url + signed)).status).toBe(401);
  });

  test("never answers a session that has ended", async () => {
    const app = shared;
    const path = unique();
    await put(app, path, "there");
    const narrowed = await fetch(`${app.url}/v1/auth/session`, { method: "POST", headers: { authorization: WRITE, "content-type": "application/json" }, body: '{"lifetime":2}' });
    const { token, expires_at } = (await narrowed.json()) as { token: string; expires_at: string };
    await warm(app, path, `Bearer ${token}`);
    await new Promise((resolve) => setTimeout(resolve, Date.parse(expires_at) - Date.now() + 20));
    expect((await get(app, path, `Bearer ${token}`)).status).toBe(401);
  });

  test("never answers after a cache's settings have changed, or the cache is gone", async () => {
    const app = await start({ caches: { other: { defaultScope: "local:old" } } });
    const { key } = await app.identity.keys.create({ name: "other", permission: "write", caches: ["other"] });
    const path = "/c/other/plain/plain/k";
    await put(app, path, "in the old scope", `Bearer ${key}`);
    await warm(app, path, `Bearer ${key}`);
    const cache = app.core.caches.require("other");
    app.core.caches.set({ ...cache, defaultScope: "local:new" });
    expect((await get(app, path, `Bearer ${key}`)).status).toBe(404);
    app.core.caches.set(cache);
    await warm(app, path, `Bearer ${key}`);
    app.core.caches.delete("other");
    expect((await get(app, path, `Bearer ${key}`)).status).toBe(404);
  });

  test("an answer allowed before a revocation is not kept after it", async () => {
    const app = shared;
    const path = unique();
    const { key, info } = await app.identity.keys.create({ name: "short", permission: "write", caches: ["default"] });
    await put(app, path, "there");
    // The body comes late: meanwhile the key is revoked.
    const { bodies } = app.core;
    const bytes = bodies.bytes.bind(bodies);
    bodies.bytes = async (entry) => {
      await app.identity.keys.revoke(info.id);
      return bytes(entry);
    };
    expect((await get(app, path, `Bearer ${key}`)).status).toBe(200);
    bodies.bytes = bytes;
    expect((await get(app, path, `Bearer ${key}`)).status).toBe(401);
  });

  test("requests with a range, a condition or a proxy's header go the whole way", async () => {
    const app = shared;
    const path = unique();
    await put(app, path, "0123456789");
    await warm(app, path);
    expect(await get(app, path, WRITE, { range: "bytes=2-3" })).toEqual({ status: 206, text: "23" });
    expect(await get(app, path, WRITE, { "x-ms-range": "bytes=4-4" })).toEqual({ status: 206, text: "4" });
    expect((await get(app, path, WRITE, { "if-none-match": "*" })).status).toBe(304);
    expect((await get(app, path, WRITE, { "x-forwarded-for": "1.2.3.4" })).text).toBe("0123456789");
  });

  test("answers anonymous readers as long as nobody is limited", async () => {
    const config = (requestsPerMinute: number) => ({ limits: { requestsPerMinute }, caches: { open: { anonymousRead: true } } });
    const app = await start(config(0));
    const { key } = await app.identity.keys.create({ name: "open", permission: "write", caches: ["open"] });
    await put(app, "/c/open/plain/plain/k", "for all", `Bearer ${key}`);
    const ask = async () => (await fetch(`${app.url}/c/open/plain/plain/k`)).status;
    expect([await ask(), await ask()]).toEqual([200, 200]);
    const found = vi.spyOn(app.core.catalog, "get");
    expect([await ask(), await ask()]).toEqual([200, 200]);
    expect(found).not.toHaveBeenCalled();
    await app.reconfiguration.take(defaultConfig({ ...config(3), data: app.data }));
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await ask());
    expect(answers).toEqual([200, 200, 200, 429]);
  });

  test("what it answers is counted, logged and noted as a use like everything else", async () => {
    const app = await start();
    await put(app, "/plain/plain/k", "12345");
    await warm(app, "/plain/plain/k");
    await warm(app, "/plain/plain/k");
    const metrics = await app.metrics.text();
    expect(metrics).toMatch(/stowhouse_requests_total\{[^}]*op="get",result="hit"[^}]*\} 6/);
    expect(metrics).toMatch(/stowhouse_sent_bytes_total\{[^}]*op="get"[^}]*\} 30/);
    const lines = (await app.logged()).split("\n").filter((line) => line.includes('"op":"get"')).map((line) => JSON.parse(line));
    expect(lines).toHaveLength(6);
    for (const line of lines) expect(line).toMatchObject({ path: "/plain/plain/k", status: 200, out: 5, result: "hit", cache: "default", address: "127.0.0.1" });
    await app.core.journal.flush();
    const stats = await app.core.database.read("readStats", { since: 0 });
    expect(stats.find((row) => row.name === "hit")!.value).toBe(6);
    const [entry] = await app.core.database.scan("listEntries", { cache: "default", limit: 1 });
    expect(entry!.accessed).toBeGreaterThanOrEqual(entry!.created);
  });

  test("gives byte for byte the answers that Fastify's way gives", async () => {
    const requests: [string[], string?][] = [
      [["GET /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/empty HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/large HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/small?version= HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /c/default/plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/small HTTP/1.0", `Authorization: ${WRITE}`]],
      [["HEAD /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`, "Range: bytes=1-2"]],
      [["GET /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`, "Range: bytes=99-"]],
      [["GET /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`, "Content-Length: 4"], "body"],
      [["GET /plain/plain/small HTTP/1.1", `Authorization: ${WRITE}`, "Expect: 100-continue"]],
      [["GET /plain/plain/none HTTP/1.1", `Authorization: ${WRITE}`]],
      [["GET /plain/plain/small HTTP/1.1", "Authorization: Bearer nonsense"]],
      [["GET /plain/plain/small HTTP/1.1"]],
    ];
    const answers = [];
    for (const front of [true, false]) {
      const app = await start({ memory: { front } });
      for (const [key, size] of [["small", 100], ["empty", 0], ["large", 100_000]] as const) {
        await put(app, `/plain/plain/${key}`, "x".repeat(size));
      }
      await app.core.database.write("touchEntries", { touches: [] });
      const seen: string[] = [];
      // The third time the front answers whatever it may.
      for (let round = 0; round < 3; round++) for (const [head, body] of requests) seen.push(await rawAnswer(app.url, head, body));
      answers.push(seen.map((text) => text.replace(/^last-modified: .*\r\n/im, "")));
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  test("notes the last use of the key behind its answers", async () => {
    const app = await start();
    const { key, info } = await app.identity.keys.create({ name: "ci", permission: "write" });
    await put(app, "/plain/plain/k", "body", `Bearer ${key}`);
    await warm(app, "/plain/plain/k", `Bearer ${key}`);
    const asked = vi.spyOn(app.identity.authenticator, "authenticate");
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    vi.setSystemTime(Date.now() + 60_000);
    await warm(app, "/plain/plain/k", `Bearer ${key}`);
    expect(asked).not.toHaveBeenCalled();
    expect((await app.identity.keys.list()).find(({ id }) => id === info.id)?.used).toBe(Date.now());
  });

  test("many requests in one packet are answered in their order", async () => {
    const app = await start();
    await put(app, "/plain/plain/a", "AAA");
    await put(app, "/plain/plain/b", "B".repeat(70_000));
    await warm(app, "/plain/plain/a");
    const connection = openRaw(app.url);
    const line = (key: string, last = false) => `GET /plain/plain/${key} HTTP/1.1\r\nHost: ${new URL(app.url).host}\r\nAuthorization: ${WRITE}\r\n${last ? "Connection: close\r\n" : ""}\r\n`;
    connection.send(line("a") + line("b") + line("a") + line("b") + line("a", true));
    const text = await connection.closed();
    expect(text.replaceAll(/HTTP\/1.1[^]*?\r\n\r\n/g, "|")).toBe(`|AAA|${"B".repeat(70_000)}|AAA|${"B".repeat(70_000)}|AAA`);
  });
});

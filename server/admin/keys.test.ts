import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

const FIXED = { admin: "stow_admin_fixed-for-this-test", write: "stow_rw_fixed-for-this-test" };
const HASH = /[0-9a-f]{64}/;
let server: AdminServer;
beforeAll(async () => void (server = await startAdmin({ auth: { adminKey: FIXED.admin, writeKey: FIXED.write } })));
afterAll(() => server.stop());

const create = async (body: object) => server.call("POST", "/keys", { body: { name: "ci", permission: "write", ...body } });
const whoami = async (key: string) => (await server.app.inject({ method: "GET", url: "/v1/auth/whoami", headers: { authorization: `Bearer ${key}` } })).statusCode;

describe("a new key", () => {
  test("is shown once, works at once, and its hash never leaves the server", async () => {
    const made = await create({ scope: "team:ci", reads: ["team:ci", "local:main"], caches: ["default"] });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ key: expect.stringMatching(/^stow_rw_/), info: { name: "ci", permission: "write", scope: "team:ci", reads: ["team:ci", "local:main"], trusted: true, expires: null, revoked: null } });
    expect(await whoami(made.body.key)).toBe(200);
    const shown = await server.call("GET", `/keys/${made.body.info.id}`);
    expect(shown.body).toMatchObject({ id: made.body.info.id, scope: "team:ci" });
    const all = JSON.stringify([made.body.info, shown.body, (await server.call("GET", "/keys")).body]);
    expect(all).not.toMatch(HASH);
    expect(all).not.toContain(made.body.key);
  });

  test("ends when it is told to", async () => {
    const { body } = await create({ expires: new Date(Date.now() + 60_000).toISOString() });
    expect(Date.parse(body.info.expires)).toBeGreaterThan(Date.now());
    expect((await create({ expires: "2020-01-01T00:00:00Z" })).status).toBe(400);
    expect((await create({ expires: "tomorrow" })).status).toBe(400);
  });

  test.each([
    [{ permission: "root" }],
    [{ name: "" }],
    [{ caches: [] }],
    [{ caches: ["Default"] }],
    [{ scope: "refs/heads/main" }],
    [{ reads: ["nonsense"] }],
    [{ public: true }],
    [{ hash: "0".repeat(64) }],
    [{ permission: "admin", caches: ["default"] }],
  ])("with %o is refused", async (body) => {
    const { status, body: answer } = await create(body);
    expect([status, answer.error.code]).toEqual([400, "STOW_BAD_REQUEST"]);
  });

  test("of an administrator is good for the whole server", async () => {
    const { body } = await create({ permission: "admin" });
    expect(body.info.caches).toEqual(["*"]);
    expect((await server.call("GET", "/keys", { key: body.key })).status).toBe(200);
  });
});

test("keys are listed page by page, those of the configuration first and once", async () => {
  for (let i = 0; i < 5; i++) await create({ name: `page ${i}` });
  const seen: string[] = [];
  let next: string | null = "";
  for (let pages = 0; next !== null && pages < 50; pages++) {
    const { body } = await server.call("GET", `/keys?limit=2${next === "" ? "" : `&after=${next}`}`);
    seen.push(...body.keys.map((key: { id: string }) => key.id));
    next = body.next;
  }
  expect(next).toBeNull();
  const all = (await server.call("GET", "/keys?limit=500")).body.keys as { id: string; created: string | null }[];
  expect(seen).toEqual(all.map((key) => key.id));
  expect(new Set(seen).size).toBe(seen.length);
  expect(all.slice(0, 2).map((key) => [key.id.slice(0, 13), key.created])).toEqual([["config-admin-", null], ["config-write-", null]]);
});

test("a revoked key ends at once", async () => {
  const { body } = await create({});
  expect(await whoami(body.key)).toBe(200);
  const revoked = await server.call("DELETE", `/keys/${body.info.id}`);
  expect(revoked).toMatchObject({ status: 200, body: { id: body.info.id, revoked: expect.any(String) } });
  expect(await whoami(body.key)).toBe(401);
});

test("a rotated key has a successor with the same rights, and works on for the overlap", async () => {
  const { body: old } = await create({ scope: "team:rotation" });
  const { status, body } = await server.call("POST", `/keys/${old.info.id}/rotate`, { body: { overlap: 60 } });
  expect(status).toBe(201);
  expect(body.info).toMatchObject({ name: "ci", scope: "team:rotation", permission: "write" });
  expect([await whoami(old.key), await whoami(body.key)]).toEqual([200, 200]);
  const { body: at } = await server.call("POST", `/keys/${body.info.id}/rotate`, { body: { overlap: 0 } });
  expect([await whoami(body.key), await whoami(at.key)]).toEqual([401, 200]);
  expect((await server.call("POST", `/keys/${at.info.id}/rotate`)).status).toBe(201);
});

test("keys of the configuration are changed there only", async () => {
  const [fixed] = (await server.call("GET", "/keys")).body.keys;
  expect((await server.call("GET", `/keys/${fixed.id}`)).status).toBe(200);
  expect((await server.call("DELETE", `/keys/${fixed.id}`)).status).toBe(400);
  expect((await server.call("POST", `/keys/${fixed.id}/rotate`)).status).toBe(400);
});

test("a key that is not there is not found", async () => {
  for (const [method, path] of [["GET", "/keys/nope"], ["DELETE", "/keys/nope"], ["POST", "/keys/nope/rotate"]] as const) {
    expect((await server.call(method, path)).status, method).toBe(404);
  }
});

describe("a session", () => {
  const session = async () => {
    const key = await server.key({ permission: "write" });
    const made = await server.app.inject({ method: "POST", url: "/v1/auth/session", headers: { authorization: `Bearer ${key}` }, payload: {} });
    const { token } = made.json();
    const me = await server.app.inject({ method: "GET", url: "/v1/auth/whoami", headers: { authorization: `Bearer ${token}` } });
    return { token, actor: me.json().actor as string };
  };

  test("is ended by the name the audit log has for it", async () => {
    const { token, actor } = await session();
    expect(await whoami(token)).toBe(200);
    expect((await server.call("POST", "/revocations", { body: { session: actor } })).status).toBe(200);
    expect(await whoami(token)).toBe(401);
  });

  test.each([[{}], [{ run: "1", session: "x" }], [{ run: "x" }], [{ session: "nonsense" }]])("is not ended by %o", async (body) => {
    expect((await server.call("POST", "/revocations", { body })).status).toBe(400);
  });

  test("of a run is ended by the run's id", async () => {
    expect((await server.call("POST", "/revocations", { body: { run: "123" } })).body).toEqual({ revoked: "run 123" });
  });
});

test("every change leaves a line in the audit log, and none holds a key", async () => {
  const { body } = await create({ name: "audited" });
  await server.call("POST", `/keys/${body.info.id}/rotate`);
  await server.call("DELETE", `/keys/${body.info.id}`);
  await server.call("POST", "/revocations", { body: { run: "77" } });
  expect((await server.audited("admin.key.create"))[0]).toMatchObject({ key: body.info.id, result: "ok", actor: expect.stringMatching(/^key:/), address: "127.0.0.1" });
  expect((await server.audited("admin.key.rotate"))[0]!["key"]).toMatch(new RegExp(`^${body.info.id} -> `));
  expect((await server.audited("admin.key.revoke"))[0]).toMatchObject({ key: body.info.id });
  expect((await server.audited("admin.session.revoke"))[0]).toMatchObject({ key: "run 77" });
  expect(JSON.stringify((await server.call("GET", "/audit?limit=500")).body)).not.toContain("stow_");
});

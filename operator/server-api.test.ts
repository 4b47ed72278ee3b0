import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../test/fixtures/admin.ts";
import type { Send } from "./http.ts";
import { ServerApi, ServerError } from "./server-api.ts";

let server: AdminServer;
beforeAll(async () => void (server = await startAdmin({ caches: { default: {}, mobile: {} } })));
afterAll(() => server.stop());

/** Requests go to a real server, without a network between. */
const send: Send = async ({ method, url, headers, body }) => {
  const { pathname, search } = new URL(url);
  const response = await server.app.inject({ method: method as "GET", url: pathname + search, headers: { ...headers }, ...(body === undefined ? {} : { payload: body }) });
  return { status: response.statusCode, text: response.body };
};
const api = (adminKeys = [server.admin], over = send) => new ServerApi({ url: "http://cache", adminKeys }, over);
const answering = (status: number, text: string) => api(undefined, async () => ({ status, text }));
const works = async (key: string) => (await server.app.inject({ method: "GET", url: "/v1/auth/whoami", headers: { authorization: `Bearer ${key}` } })).statusCode === 200;

describe("against a real server", () => {
  test("a key is made, shown, found by its name, and ended", async () => {
    const since = Date.now();
    const { key, info } = await api().createKey({ name: "cachekey:u1:3 ci/app", permission: "write", caches: ["mobile"], scope: "team:ci", reads: ["team:ci"], expires: new Date(since + 60_000).toISOString() });
    expect(await works(key)).toBe(true);
    expect(await api().key(info.id)).toMatchObject({ id: info.id, permission: "write", caches: ["mobile"], scope: "team:ci", revoked: null });
    expect((await api().findKeys("cachekey:u1:", since)).map(({ id }) => id)).toEqual([info.id]);
    expect(await api().findKeys("cachekey:u2:", since)).toEqual([]);
    expect(await api().findKeys("cachekey:u1:", Date.now() + 1000)).toEqual([]);
    await api().revokeKey(info.id);
    await api().revokeKey(info.id);
    expect(await works(key)).toBe(false);
    expect(await api().findKeys("cachekey:u1:", since)).toEqual([]);
  });

  test("an unknown key is none, and ending it is fine", async () => {
    expect(await api().key("unknown")).toBeUndefined();
    await api().revokeKey("unknown");
  });

  test("caches and usage", async () => {
    expect((await api().caches()).sort()).toEqual(["default", "mobile"]);
    await server.put("one", { body: "12345" });
    expect(await api().usage()).toEqual({ bytes: 5, entries: 1, hitRate: undefined });
  });

  test("what it refuses is said in its words", async () => {
    const refused = await api().createKey({ name: "x", permission: "write", caches: ["default"], scope: "1296269:refs/heads/main" }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ServerError);
    expect(refused).toMatchObject({ status: 400, code: "STOW_BAD_REQUEST", refused: true, message: expect.stringContaining("team:ci") });
  });

  test("while a rotation reaches the pods, the older admin key is tried too", async () => {
    expect(await api(["stow_admin_not-known-yet", server.admin]).caches()).toHaveLength(2);
    await expect(api(["stow_admin_wrong"]).caches()).rejects.toMatchObject({ status: 401 });
    await expect(api([]).caches()).rejects.toMatchObject({ status: 401 });
  });
});

describe("what isn't an answer of a server", () => {
  test.each([
    [200, "<html>"],
    [404, "not found"],
    [404, '{"detail":"no route"}'],
    [200, "null"],
    [302, "{}"],
  ])("%i %s never says that a key doesn't exist", async (status, text) => {
    await expect(answering(status, text).key("a")).rejects.toThrow(ServerError);
    await expect(answering(status, text).revokeKey("a")).rejects.toThrow(ServerError);
  });

  test("no answer at all says who was asked, and never with which key", async () => {
    const error = await api(["stow_admin_secret"], async () => Promise.reject(Object.assign(new Error("x"), { code: "ECONNREFUSED" }))).caches().catch((caught: unknown) => caught as ServerError);
    expect(error).toMatchObject({ status: 0, refused: false, message: "No answer from http://cache: ECONNREFUSED." });
  });

  test("a list without end is given up", async () => {
    await expect(answering(200, '{"keys":[],"next":"a"}').findKeys("x", 0)).rejects.toMatchObject({ status: 507 });
  });
});

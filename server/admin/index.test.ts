import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

interface Operation {
  readonly operationId?: string;
  readonly responses: Record<string, unknown>;
  readonly security: unknown[];
}

let server: AdminServer;
let paths: Record<string, Record<string, Operation>>;
beforeAll(async () => {
  server = await startAdmin();
  paths = (await server.call("GET", "/openapi.json", { key: "" })).body.paths;
});
afterAll(() => server.stop());

/** Every operation of the admin API that needs a credential, with its path filled in. */
function operations(): { method: "GET"; path: string }[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    path.startsWith("/v1/admin/") && path !== "/v1/admin/openapi.json"
      ? Object.keys(methods).map((method) => ({ method: method.toUpperCase() as "GET", path: path.slice("/v1/admin".length).replace(/\{(\w+)\}/g, "1") }))
      : [],
  );
}

describe("the OpenAPI document", () => {
  test("is open to all and names every operation once", () => {
    const names = Object.values(paths).flatMap((methods) => Object.values(methods).map((operation) => operation.operationId));
    const admin = names.filter((name) => name?.startsWith("admin."));
    expect(new Set(admin).size).toBe(admin.length);
    expect(admin).toEqual(expect.arrayContaining(["admin.keys.create", "admin.keys.rotate", "admin.caches.put", "admin.entries.remove", "admin.stats", "admin.gc", "admin.fsck.start", "admin.audit.list"]));
  });

  test("has session tokens and health too, and no protocol", () => {
    expect(Object.keys(paths)).toEqual(expect.arrayContaining(["/v1/auth/session", "/v1/auth/github", "/livez", "/readyz"]));
    expect(Object.keys(paths).filter((path) => !/^\/(v1\/(admin|auth)\/|livez$|readyz$)/.test(path))).toEqual([]);
  });

  test("says of every operation how it fails, and of admin operations what they need", () => {
    for (const [path, methods] of Object.entries(paths)) {
      for (const operation of Object.values(methods)) {
        expect(operation.responses, path).toHaveProperty("default");
        if (path.startsWith("/v1/admin/") && !path.endsWith("openapi.json")) expect(operation.security, path).toEqual([{ bearer: [] }, { basic: [] }]);
      }
    }
  });
});

describe("every operation", () => {
  test("needs a credential", async () => {
    expect(operations().length).toBeGreaterThan(15);
    for (const { method, path } of operations()) expect((await server.call(method, path, { key: "" })).status, `${method} ${path}`).toBe(401);
  });

  test("refuses keys that read, write or are made up, before it looks at the request", async () => {
    const keys = [await server.key({ permission: "read" }), await server.key({ permission: "write" }), await server.key({ permission: "write", caches: ["*"] })];
    for (const { method, path } of operations()) {
      for (const key of keys) {
        const { status, body } = await server.call(method, `${path}?nonsense=1`, { key, ...(method === "GET" ? {} : { body: { nonsense: 1 } }) });
        expect([status, body.error.code], `${method} ${path}`).toEqual([403, "STOW_FORBIDDEN_ADMIN"]);
      }
      expect((await server.call(method, path, { key: "stow_admin_madeup" })).status).toBe(401);
    }
  });

  test("refuses an admin key that is good for some caches only: administration is of the whole server", async () => {
    const key = await server.key({ permission: "admin", caches: ["default"] });
    for (const { method, path } of operations()) expect((await server.call(method, path, { key })).status, `${method} ${path}`).toBe(403);
  });

  test("refuses a session, even one made from an admin key", async () => {
    const made = await server.app.inject({ method: "POST", url: "/v1/auth/session", headers: { authorization: `Bearer ${server.admin}` }, payload: {} });
    for (const { method, path } of operations()) expect((await server.call(method, path, { key: made.json().token })).status, `${method} ${path}`).toBe(403);
  });

  test("refuses fields it does not know", async () => {
    for (const { method, path } of operations()) {
      const query = paths[`/v1/admin${path}`]?.[method.toLowerCase()] as { parameters?: { in: string }[] } | undefined;
      if (query?.parameters?.some((parameter) => parameter.in === "query")) expect((await server.call(method, `${path}?nonsense=1`)).status, `${method} ${path}`).toBe(400);
    }
  });
});

test("administration has one address: it is not reached through a cache's prefix", async () => {
  const response = await server.app.inject({ method: "GET", url: "/c/default/v1/admin/keys", headers: { authorization: `Bearer ${server.admin}` } });
  expect([response.statusCode, response.json().error.code]).toEqual([404, "STOW_NO_ROUTE"]);
});

test("refusals are in the audit log", async () => {
  const key = await server.key({ permission: "write" });
  await server.call("POST", "/gc", { key });
  expect((await server.audited("admin.gc"))[0]).toMatchObject({ result: "denied" });
});

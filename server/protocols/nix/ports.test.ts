import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, testPath } from "../../../test/fixtures/nix.ts";
import { openRaw } from "../../../test/fixtures/raw-http.ts";
import { shutDown } from "../../serve.ts";
import { nix } from "./index.ts";

const LISTEN = "127.0.0.1:0";
const start = (caches: Record<string, object>, more: object = {}) => startApp({ caches: { default: {}, team: { anonymousRead: true }, secret: {} }, ...more, protocols: { nix: { caches } } }, [nix]);

let app: TestApp;
let url: string;
let team: string;
let secret: string;
let key: string;
beforeAll(async () => {
  app = await start({ team: { listen: LISTEN }, secret: { listen: LISTEN, priority: 7 } });
  url = await app.listen();
  [team, secret] = app.listeners.addresses.map(({ port }) => `http://127.0.0.1:${port}`) as [string, string];
  key = await nixKey(app, { permission: "write", caches: ["team", "secret"] });
});
afterAll(() => app.close());

const basic = () => ({ authorization: `Basic ${Buffer.from(`:${key}`).toString("base64")}` });

describe("a cache with a port of its own", () => {
  it("is at its root: pushed to, read, and the same as at its path", async () => {
    const path = testPath("ported");
    expect(await new NixClient(team, key).push(path)).toBe(204);
    const own = await new NixClient(team).text(`/${path.hash}.narinfo`);
    expect(own).toContain("StorePath: /nix/store/");
    expect(await new NixClient(`${url}/nix/team`).text(`/${path.hash}.narinfo`)).toBe(own);
    const nar = await fetch(`${team}/${path.info.url}`, { headers: { range: "bytes=3-" } });
    expect([nar.status, Buffer.from(await nar.arrayBuffer()).equals(path.file.subarray(3))]).toEqual([206, true]);
    expect(await (await fetch(`${secret}/nix-cache-info`, { headers: basic() })).text()).toContain("Priority: 7");
  });

  it("wants the same credentials", async () => {
    const answer = await fetch(`${secret}/nix-cache-info`);
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([401, expect.stringContaining("Basic")]);
    const other = await nixKey(app, { permission: "write", caches: ["team"] });
    expect(await new NixClient(secret, other).status("GET", "/nix-cache-info")).toBe(401);
    expect(await new NixClient(team).status("PUT", `/${testPath("x").hash}.narinfo`, "x")).toBe(401);
  });

  it.each(["/", "/livez", "/metrics", "/v1/admin/caches", "/nix/secret/nix-cache-info", "/c/secret/nix/nix-cache-info", "//v1/admin/caches", "/../../v1/admin/caches", "/%2e%2e/secret/nix-cache-info", "/secret/nix-cache-info"])(
    "shows nothing else there: %s",
    async (target) => {
      const raw = openRaw(team);
      raw.send(`GET ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEYS.admin}\r\nConnection: close\r\n\r\n`);
      expect(await raw.closed()).toMatch(/^HTTP\/1\.1 404 /);
    },
  );

  it("is limited, counted and logged as all else", async () => {
    const metrics = async () => Number(/stowhouse_requests_total\{[^}]*op="info"[^}]*\} (\d+)/.exec(await app.metrics.text())?.[1] ?? 0);
    const before = await metrics();
    await fetch(`${team}/nix-cache-info`);
    expect(await metrics()).toBe(before + 1);
    expect(await app.logged()).toContain("/nix/team/nix-cache-info");
    const raw = openRaw(team);
    raw.send(`GET /nix-cache-info HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(20_000)}\r\n\r\n`);
    expect(await raw.closed()).toMatch(/^HTTP\/1\.1 431 /);
  });

  it("finishes what runs when the server ends, and takes no others", async () => {
    const ending = await start({ team: { listen: LISTEN } });
    await ending.listen();
    const [{ port }] = ending.listeners.addresses as [AddressInfo];
    const write = await nixKey(ending, { permission: "write", caches: ["team"] });
    const path = testPath("late", Buffer.alloc(300_000, 7), { compression: "none" }, (plain) => plain);
    const upload = openRaw(`http://127.0.0.1:${port}`);
    upload.send(`PUT /${path.info.url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${write}\r\nContent-Length: ${path.file.length}\r\n\r\n`);
    upload.socket.write(path.file.subarray(0, 1000));
    await sleep(50);
    const ended = shutDown(ending, { shutdown: { drain: 10_000 } } as never);
    await sleep(700);
    await expect(fetch(`http://127.0.0.1:${port}/nix-cache-info`)).rejects.toThrow();
    upload.socket.write(path.file.subarray(1000));
    expect(await upload.closed()).toMatch(/^HTTP\/1\.1 204 /);
    await ended;
  });
});

describe("a port that can't be had", () => {
  it("because another process has it stops the start, by the field's name", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const other = await start({ team: { listen: `127.0.0.1:${port}` } });
    await expect(other.listen()).rejects.toThrow(`protocols.nix.caches.team.listen: can't listen on 127.0.0.1:${port} (something listens there already)`);
    await other.close();
    await new Promise((resolve) => taken.close(resolve));
  });

  it("because two caches want it, or the cache's name is a word of the protocol, too", async () => {
    await expect(start({ team: { listen: "127.0.0.1:9" }, secret: { listen: "127.0.0.1:9" } })).rejects.toThrow("protocols.nix.caches.secret.listen: 127.0.0.1:9 is protocols.nix.caches.team.listen, too");
    await expect(start({ log: { listen: LISTEN } })).rejects.toThrow("protocols.nix.caches.log.listen");
  });
});

describe("ncps's names", () => {
  it("for the health of the server", async () => {
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it("for pushing: to the cache alone, whatever it finds elsewhere", async () => {
    const path = testPath("uploaded");
    const client = new NixClient(`${url}/upload`, await nixKey(app, { permission: "write", caches: ["default"] }));
    expect(await client.text("/nix-cache-info")).toContain("StoreDir: /nix/store");
    expect(await client.push(path)).toBe(204);
    expect(await client.status("HEAD", `/${path.hash}.narinfo`)).toBe(200);
    expect(await new NixClient(url, await nixKey(app, { permission: "read", caches: ["default"] })).status("GET", `/${path.hash}.narinfo`)).toBe(200);
    expect(await new NixClient(`${url}/upload`).status("PUT", `/${path.info.url}`, path.file)).toBe(401);
  });
});

import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sessionToken, startServer, type TestServer } from "../fixtures/server.ts";
import { run } from "../fixtures/tools.ts";
import { goActionsCache } from "./tools.ts";

let server: TestServer;
let program: string;
let home: string;
/** Session tokens: BuildKit parses its token as a JWT with GitHub's claims and refuses anything else. */
let writer: string;
let reader: string;

beforeAll(async () => {
  program = await goActionsCache();
  server = await startServer();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-go-actions-cache-"));
  writer = await sessionToken(server, server.writeKey);
  reader = await sessionToken(server, server.readKey);
});
afterAll(async () => {
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

describe.each([
  ["service v2", (url: string) => ({ ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `${url}/` })],
  ["service v1", (url: string) => ({ ACTIONS_CACHE_URL: `${url}/` })],
])("go-actions-cache, %s", (service, env) => {
  const prefix = service.replace(" ", "-");
  let serial = 0;

  async function client(token: string, ...args: string[]): Promise<string> {
    const began = performance.now();
    const { stdout } = await run(program, args, { timeout: 120_000, env: { ...env(server.url), ACTIONS_RUNTIME_TOKEN: token } }).catch((error: { stdout: string }) => error);
    expect(performance.now() - began).toBeLessThan(60_000);
    return stdout.trim();
  }
  const save = (key: string, body: string | Buffer, token = writer) => {
    const file = path.join(home, `${prefix}-${++serial}`);
    writeFileSync(file, body);
    return client(token, "save", `${prefix}-${key}`, file);
  };
  const load = async (keys: string[], token = reader): Promise<[said: string, body: Buffer | undefined]> => {
    const file = path.join(home, `${prefix}-${++serial}`);
    const said = await client(token, "load", file, ...keys.map((key) => `${prefix}-${key}`));
    return [said, existsSync(file) ? readFileSync(file) : undefined];
  };

  test("saves, and hits by key and by prefix", async () => {
    expect(await save("layer-1", "a layer")).toBe("saved");
    expect(await load(["layer-1"])).toEqual([`hit ${prefix}-layer-1`, Buffer.from("a layer")]);
    expect(await load(["layer-"])).toEqual([`hit ${prefix}-layer-1`, Buffer.from("a layer")]);
    expect(await load(["layer-2", "layer-"])).toEqual([`hit ${prefix}-layer-1`, Buffer.from("a layer")]);
  });

  test("misses", async () => {
    expect(await load(["never"])).toEqual(["miss", undefined]);
  });

  test("knows a taken key as os.ErrExist", async () => {
    await save("taken", "x");
    expect(await save("taken", "y")).toBe("exists");
  });

  test("keeps a mutable index, as BuildKit does", async () => {
    for (const text of ["one", "two", "three"]) expect(await client(writer, "mutate", `${prefix}-index`, text)).toBe("saved");
    expect(await load(["index#"])).toEqual([`hit ${prefix}-index#3`, Buffer.from("three")]);
  });

  test("a read-only token reads, and its save ends with an error at once", async () => {
    await save("ro", "x");
    expect((await load(["ro"]))[0]).toBe(`hit ${prefix}-ro`);
    const began = performance.now();
    expect(await save("ro-2", "x", reader)).toMatch(service === "service v2" ? /^error failed to reserve cache/ : /^error .*cache write denied: /);
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  test("a token of another server is refused at once", async () => {
    const forged = `${writer.slice(0, -8)}AAAAAAAA`;
    expect(await client(forged, "load", path.join(home, "none"), `${prefix}-ro`)).toMatch(/^error /);
  });

  // Service v2 takes blocks of 1 MiB, one after the other; service v1 takes chunks of 32 MiB.
  test("uploads 200 MB in pieces and gets them back byte by byte", async () => {
    const body = randomBytes(200_000_000);
    expect(await save("big", body)).toBe("saved");
    const [said, back] = await load(["big"]);
    expect(said).toBe(`hit ${prefix}-big`);
    expect(createHash("sha256").update(back!).digest("hex")).toBe(createHash("sha256").update(body).digest("hex"));
  });
});

test("a download URL that has ended is asked for once more", async () => {
  const file = path.join(home, "ended");
  writeFileSync(file, "a layer");
  // Passes look-ups on, and spoils the first URL: the server answers it as it answers one whose time is over.
  let lookups = 0;
  const proxy = createServer((request, response) => {
    void (async () => {
      const body = await buffer(request);
      const answer = await fetch(server.url + request.url!, { method: "POST", headers: { authorization: request.headers.authorization!, "content-type": "application/json" }, body });
      const text = await answer.text();
      const spoil = request.url!.endsWith("GetCacheEntryDownloadURL") && ++lookups === 1;
      response.writeHead(answer.status, { "content-type": "application/json" }).end(spoil ? text.replace("sig=", "sig=x") : text);
    })();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    const env = { ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/`, ACTIONS_RUNTIME_TOKEN: writer };
    await run(program, ["save", "ended", file], { env, timeout: 60_000 });
    const { stdout } = await run(program, ["load", path.join(home, "ended-back"), "ended"], { env, timeout: 60_000 });
    expect([stdout.trim(), readFileSync(path.join(home, "ended-back"), "utf8"), lookups]).toEqual(["hit ended", "a layer", 2]);
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
});

test("an API key is no token BuildKit takes", async () => {
  const { stdout } = await run(program, ["load", path.join(home, "none"), "key"], { env: { ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `${server.url}/`, ACTIONS_RUNTIME_TOKEN: server.writeKey } }).catch((error: { stdout: string }) => error);
  expect(stdout).toContain("malformed");
});

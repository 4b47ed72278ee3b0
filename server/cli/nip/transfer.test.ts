import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import type { IncomingMessage, RequestListener } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Loopback } from "../../../test/fixtures/loopback.ts";
import { NipHome } from "../../../test/fixtures/nip-client.ts";
import { startNip, upload, type NipServer } from "../../../test/fixtures/nip.ts";
import { pull, type PullOptions } from "./pull.ts";
import { push, type PushOptions } from "./push.ts";

const BODY = randomBytes(200_000);
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const loopback = new Loopback();
let server: NipServer;
let home: NipHome;
beforeAll(async () => {
  server = await startNip();
  expect((await server.post("/v1/artifacts/vim", server.write, upload(BODY, { name: "vim" }))).status).toBe(201);
});
afterAll(() => server.stop());
beforeEach(() => void (home = new NipHome()));
afterEach(async () => {
  await loopback.close();
  home.remove();
});

/** Settings whose retries don't make a test wait. */
const settings = (urls: readonly (URL | string)[], more: Record<string, unknown> = {}) => {
  const { policies, ...rest } = more;
  home.configure({ servers: urls.map((url) => ({ url: String(url) })), apiKey: server.write, enabled: true, policies: { retryDelay: 0.01, ...(policies as object) }, ...rest });
};
const pullAll = async (keys: string[], options: PullOptions = {}) => {
  await pull(keys, options, home.io());
  return home.lines();
};
const pushAll = async (keys: string[], options: PushOptions = {}) => {
  await push(keys, options, home.io());
  return home.lines();
};

/** What a fake server answers; `download` plays `/v1/download/…`. */
function fake(download: RequestListener, more: RequestListener = (_, response) => void response.writeHead(404).end("{}")): Promise<URL> {
  return loopback.http((request, response) => {
    const json = (body: unknown) => void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (request.url!.startsWith("/v1/download/")) download(request, response);
    else if (request.url!.endsWith("/metadata")) json({ name: "fake" });
    else if (request.method === "GET" && request.url!.startsWith("/v1/artifacts/")) json({ downloadUrl: `/v1/download/${request.url!.split("/").at(-1)}` });
    else more(request, response);
  });
}

describe("pull", () => {
  it("asks the local directory first, and no server for what is there", async () => {
    settings([await loopback.hanging()]);
    home.put("here", "bytes", {});
    expect(await pullAll(["here"])).toEqual(["hit here local"]);
  });

  it("brings artifact and metadata into their place", async () => {
    settings([server.url]);
    const started = performance.now();
    expect(await pullAll(["vim", "none", "vim"])).toEqual(expect.arrayContaining([`hit vim ${server.url}`, "miss none"]));
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(home.get("vim")).toEqual({ bytes: BODY, metadata: { name: "vim" } });
    expect(home.names()).toEqual(["vim"]);
    expect(await pullAll(["vim"])).toEqual(["hit vim local"]);
  });

  it("fetches again what it has when forced", async () => {
    settings([server.url]);
    home.put("vim", "stale", { stale: true });
    expect(await pullAll(["vim"], { force: true })).toEqual([`hit vim ${server.url}`]);
    expect(home.get("vim")).toEqual({ bytes: BODY, metadata: { name: "vim" } });
  });

  it("works through the path prefix of a cache", async () => {
    settings([`${server.url}/c/default/`]);
    expect(await pullAll(["vim"])).toEqual([`hit vim ${server.url}/c/default`]);
  });

  it("goes on to the next server when one is dead, hangs, fails, refuses or has nothing", async () => {
    const [dead, sick] = [await loopback.dead(), await loopback.http((_, response) => void response.writeHead(500).end("<html>"))];
    const [refusing, empty] = [await loopback.http((_, response) => void response.writeHead(401).end('{"error":"unauthorized"}')), await loopback.http((_, response) => void response.writeHead(404).end())];
    settings([dead, sick, refusing, empty, server.url]);
    expect(await pullAll(["vim"])).toEqual([`hit vim ${server.url}`]);
    expect(home.err).toContain("connection refused");
    expect(home.err).toContain("401 unauthorized");
  });

  it("loses two seconds to a hanging server, once for all keys", async () => {
    settings([await loopback.hanging(), server.url]);
    const started = performance.now();
    expect(await pullAll(["vim"])).toEqual([`hit vim ${server.url}`]);
    expect(performance.now() - started).toBeLessThan(2_900);
    expect(home.err).toContain("no answer within 2 s");
  });

  it("prints miss and fails nothing when every server is away, unless it is strict", async () => {
    settings([await loopback.dead()]);
    expect(await pullAll(["a", "b"])).toEqual(expect.arrayContaining(["miss a (not every server could be asked)", "miss b (not every server could be asked)"]));
    await expect(pullAll(["a"], { strict: true })).rejects.toThrow("1 of 1 keys are missing");
  });

  it("fails when a server is away and the policy fallbackToLocal is off, but not for a plain miss", async () => {
    settings([await loopback.dead()], { policies: { fallbackToLocal: false } });
    await expect(pullAll(["a"])).rejects.toThrow("fallbackToLocal is off");
    settings([server.url], { policies: { fallbackToLocal: false } });
    expect(await pullAll(["none"])).toContain("miss none");
  });

  it("asks no server when switched off or told not to download", async () => {
    settings([server.url], { enabled: false });
    expect(await pullAll(["vim"])).toEqual(["miss vim"]);
    settings([server.url], { policies: { downloadBeforeBuild: false } });
    expect(await pullAll(["vim"])).toEqual(["miss vim"]);
    expect(home.err).toContain("downloadBeforeBuild is off");
  });

  it("goes on with the local directory when its settings are broken", async () => {
    home.configure("{");
    home.put("here", "bytes", {});
    expect(await pullAll(["here", "vim"])).toEqual(expect.arrayContaining(["hit here local", "miss vim"]));
    expect(home.err).toContain("is not JSON");
    await expect(pullAll(["here"], { strict: true })).rejects.toThrow("is not JSON");
  });

  const cut: RequestListener = (_, response) => {
    response.writeHead(200, { "content-length": BODY.length }).write(BODY.subarray(0, 100_000));
    setTimeout(() => response.destroy(), 20);
  };
  it.each<[string, RequestListener, string]>([
    ["is cut off", cut, "connection"],
    ["has a wrong digest", (_, response) => void response.writeHead(200, { etag: `"${sha256(BODY)}"` }).end(BODY.subarray(1)), "hash to"],
    ["fails", (_, response) => void response.writeHead(503).end('{"error":"unavailable"}'), "503 unavailable"],
  ])("tries a download again that %s, leaves nothing of it, and takes the next server's", async (_, listener, message) => {
    let attempts = 0;
    const broken = await fake((request, response) => {
      attempts++;
      listener(request, response);
    });
    settings([broken, server.url], { policies: { retryAttempts: 2 } });
    expect(await pullAll(["vim"])).toEqual([`hit vim ${server.url}`]);
    expect(attempts).toBe(3);
    expect(home.err).toContain(message);
    expect(home.get("vim")?.bytes).toEqual(BODY);
    settings([broken]);
    home.put("vim", "old", {});
    expect(await pullAll(["vim"], { force: true })).toEqual(["miss vim (not every server could be asked)"]);
    expect([home.get("vim")?.bytes.toString(), home.names()]).toEqual(["old", ["vim"]]);
  });

  it("succeeds at the second attempt", async () => {
    let attempts = 0;
    const once = await fake((request, response) => (attempts++ === 0 ? cut(request, response) : response.end(BODY)));
    settings([once]);
    expect(await pullAll(["vim"])).toEqual([`hit vim ${String(once).slice(0, -1)}`]);
    expect(home.get("vim")).toEqual({ bytes: BODY, metadata: { name: "fake" } });
  });

  it("never takes longer for a key than the timeout says", async () => {
    const endless = await fake((_, response) => {
      const timer = setInterval(() => response.write("x"), 20);
      response.on("close", () => clearInterval(timer));
    });
    settings([endless], { timeout: 1 });
    const started = performance.now();
    expect(await pullAll(["vim"])).toEqual(["miss vim (not every server could be asked)"]);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(home.err).toContain("it took longer than allowed");
  });

  it("does not pair a new artifact with old metadata", async () => {
    const replaced = await loopback.http((request, response) => {
      if (request.url!.endsWith("/metadata")) response.setHeader("x-stowhouse-digest", sha256(Buffer.from("another")));
      response.end(request.url!.startsWith("/v1/download/") ? BODY : '{"downloadUrl":"/v1/download/vim"}');
    });
    settings([replaced], { policies: { retryAttempts: 0 } });
    expect(await pullAll(["vim"])).toEqual(["miss vim (not every server could be asked)"]);
    expect(home.err).toContain("the entry was replaced while it was fetched");
  });

  it("follows a redirect and keeps its key to itself there", async () => {
    let authorization: string | undefined = "never asked";
    const bucket = await loopback.http((request, response) => {
      authorization = request.headers.authorization;
      response.end(BODY);
    });
    settings([await fake((_, response) => void response.writeHead(302, { location: new URL("/object?sig=1", bucket).href }).end())]);
    expect((await pullAll(["vim"]))[0]).toMatch(/^hit vim/);
    expect([home.get("vim")?.bytes, authorization]).toEqual([BODY, undefined]);
    const loop: URL = await fake((request, response) => void response.writeHead(302, { location: request.url }).end());
    settings([loop], { policies: { retryAttempts: 0 } });
    expect((await pullAll(["other"]))[0]).toMatch(/^miss other/);
  });

  it.each(["../outside", "a/b", "..", ".hidden", "x".repeat(300)])("takes no key that would leave its directory: %s", async (key) => {
    settings([server.url]);
    expect(await pullAll([key])).toEqual([`miss ${key} (it can't be the name of a directory)`]);
    expect(home.names()).toEqual([]);
  });

  it("sweeps what a killed one left behind, after a day", async () => {
    settings([server.url]);
    for (const [name, age] of [[".stowhouse-old", 2], [".stowhouse-new", 0]] as const) {
      mkdirSync(join(home.directory, name), { recursive: true });
      const time = Date.now() / 1000 - age * 86_400;
      utimesSync(join(home.directory, name), time, time);
    }
    await pullAll(["none"]);
    await expect.poll(() => home.names()).toEqual([".stowhouse-new"]);
  });
});

describe("push", () => {
  const remote = async (key: string) => {
    const answer = await server.fetch(`/v1/download/${key}`, server.read);
    return answer.status === 200 ? Buffer.from(await answer.arrayBuffer()) : undefined;
  };

  it("sends artifact and metadata, and overwrites", async () => {
    settings([server.url]);
    home.put("tool-1", BODY, { name: "tool" });
    expect(await pushAll(["tool-1"])).toEqual([`pushed tool-1 ${server.url}`]);
    expect(await remote("tool-1")).toEqual(BODY);
    expect(await (await server.fetch("/v1/artifacts/tool-1/metadata", server.read)).json()).toEqual({ name: "tool" });
    home.put("tool-1", "new", { name: "new" });
    expect(await pushAll(["tool-1"])).toEqual([`pushed tool-1 ${server.url}`]);
    expect((await remote("tool-1"))?.toString()).toBe("new");
  });

  it("sends a large, an empty and one without metadata", async () => {
    settings([server.url]);
    const large = randomBytes(5_000_000);
    home.put("large", large, {});
    home.put("empty", "");
    expect(await pushAll(["large", "empty"])).toEqual(expect.arrayContaining([`pushed large ${server.url}`, `pushed empty ${server.url}`]));
    expect((await remote("large"))?.equals(large)).toBe(true);
    expect((await remote("empty"))?.length).toBe(0);
    expect(await (await server.fetch("/v1/artifacts/empty/metadata", server.read)).json()).toEqual({});
    expect(home.err).toMatch(/2\/2 keys, 4\.8 MiB in .* MB\/s/);
  });

  it("sends all of a directory, and only once what the server holds already", async () => {
    settings([server.url]);
    for (let i = 0; i < 10; i++) home.put(`all-${i}`, `artifact ${i}`, { i });
    mkdirSync(join(home.directory, "no-artifact"));
    writeFileSync(join(home.directory, "file"), "");
    expect((await pushAll([], { all: true })).toSorted()).toEqual(Array.from({ length: 10 }, (_, i) => `pushed all-${i} ${server.url}`));
    home.put("all-3", "changed", {});
    const again = (await pushAll([], { all: true })).toSorted();
    expect(again.filter((line) => line.startsWith("pushed"))).toEqual([`pushed all-3 ${server.url}`]);
    expect(again.filter((line) => line.startsWith("unchanged"))).toHaveLength(9);
    expect((await pushAll([], { all: true, force: true })).every((line) => line.startsWith("pushed"))).toBe(true);
  });

  it("goes on to the next server when one is dead or fails", async () => {
    const sick = await loopback.http((_, response) => void response.writeHead(500).end());
    settings([await loopback.dead(), sick, server.url], { policies: { retryAttempts: 1 } });
    home.put("failover", "bytes", {});
    expect(await pushAll(["failover"])).toEqual([`pushed failover ${server.url}`]);
    expect(home.err).toContain("again in 0.01 s");
  });

  it("fails no build when nobody takes it, unless it is strict", async () => {
    settings([await loopback.dead()]);
    home.put("lost", "bytes", {});
    expect(await pushAll(["lost"])).toEqual(["failed lost (connection refused)"]);
    await expect(pushAll(["lost"], { strict: true })).rejects.toThrow("1 of 1 keys were not pushed");
  });

  it("does not send a large body to a server that refuses it, and says why", async () => {
    home.put("forbidden", randomBytes(3_000_000), {});
    settings([server.url], { apiKey: server.read });
    expect(await pushAll(["forbidden"])).toEqual([expect.stringMatching(/^failed forbidden \(403 This credential is read-only/)]);
    expect(home.err).not.toContain("again in");
  });

  it("finds out when a server has stored something else", async () => {
    const garbling = await loopback.http((request: IncomingMessage, response) => void request.resume().on("end", () => response.writeHead(201, { etag: `"${"0".repeat(64)}"` }).end("{}")));
    settings([garbling], { policies: { retryAttempts: 1 } });
    home.put("garbled", "bytes", {});
    expect(await pushAll(["garbled"])).toEqual([expect.stringMatching(/^failed garbled \(the server stored bytes that hash to 0000/)]);
  });

  it("skips what is not there, and all when it is off or told not to upload", async () => {
    settings([server.url]);
    expect(await pushAll(["absent", "../outside"])).toEqual(expect.arrayContaining([`skipped absent (not in ${home.directory})`, `skipped ../outside (not in ${home.directory})`]));
    home.put("kept", "bytes", {});
    settings([server.url], { policies: { uploadOnBuild: false } });
    expect(await pushAll(["kept"])).toEqual(["skipped kept"]);
    expect(await pushAll(["kept"], { force: true })).toEqual([`pushed kept ${server.url}`]);
    settings([server.url], { enabled: false });
    expect(await pushAll(["kept"])).toEqual(["skipped kept"]);
  });

  it("wants keys or --all", async () => {
    await expect(pushAll([])).rejects.toThrow("name keys, or --all");
    await expect(pushAll(["a"], { all: true })).rejects.toThrow("name keys, or --all");
  });

  it("takes symbolic links for what they point to", async () => {
    settings([server.url]);
    const elsewhere = join(home.home, "elsewhere.tar.gz");
    writeFileSync(elsewhere, BODY);
    mkdirSync(join(home.directory, "linked"), { recursive: true });
    symlinkSync(elsewhere, join(home.directory, "linked", "artifact.tar.gz"));
    expect(await pushAll(["linked"])).toEqual([`pushed linked ${server.url}`]);
    expect(statSync(elsewhere).size).toBe(BODY.length);
  });
});

describe("a key that ends soon", () => {
  it("is spoken of in time, and not before", async () => {
    const day = 24 * 60 * 60 * 1000;
    const key = async (days: number) => server.key({ permission: "read", expires: Date.now() + days * day + 60_000 });
    settings([server.url], { apiKey: await key(6) });
    expect(await pullAll(["none"])).toEqual(["miss none"]);
    expect(home.err).toMatch(new RegExp(`The key for ${server.url} ends in 6 days .* stowhouse key rotate`));
    home.err = "";
    settings([server.url], { apiKey: await key(60) });
    await pullAll(["none"]);
    expect(home.err).toBe("");
  });

  it("can't be told by a server that does not know the question", async () => {
    settings([await fake((_, response) => void response.end(BODY))]);
    expect((await pullAll(["vim"]))[0]).toMatch(/^hit vim/);
    expect(home.err).not.toContain("ends in");
  });
});

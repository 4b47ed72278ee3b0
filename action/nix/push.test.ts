import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { afterAll, beforeEach, expect, test } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { pushBuilt, type Pushed } from "./push.ts";

/** Nix is two scripts here, with a store of files; the real one is in test/nix. */

const [LIB, TOP, OLD, TAKEN] = ["b-lib", "a-top-1.0", "c-old", "d-taken"].map((name) => name.replace(/^./, (letter) => letter.repeat(32))) as [string, string, string, string];
const hashed = (text: string) => createHash("sha256").update(text).digest();

let home: string;
const loopback = new Loopback();
afterAll(() => loopback.close());
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-push-"));
  for (const name of ["bin", "store", "own"]) mkdirSync(path.join(home, name));
  const script = (name: string, text: string) => {
    writeFileSync(path.join(home, "bin", name), `#!/bin/sh\n${text}\n`);
    chmodSync(path.join(home, "bin", name), 0o755);
  };
  script("nix", `cat ${home}/infos.json`);
  script("nix-store", 'if [ "$1" = --dump ]; then cat "$2"; fi');
  return () => rmSync(home, { recursive: true, force: true });
});

const NOW = Math.floor(Date.now() / 1000);

/** @param damaged the path whose bytes are not those that were built */
function stored(damaged?: string): void {
  const info = (name: string, more: object) => ({ path: `${home}/store/${name}`, narHash: `sha256-${hashed(name).toString("base64")}`, narSize: name.length, references: [], registrationTime: NOW, ...more });
  for (const name of [LIB, TOP, OLD, TAKEN]) writeFileSync(path.join(home, "store", name), name === damaged ? "x".repeat(name.length) : name);
  writeFileSync(path.join(home, "infos.json"), JSON.stringify([
    info(TOP, { ultimate: true, references: [TOP, LIB, TAKEN].map((name) => `${home}/store/${name}`), deriver: `${home}/store/${"e".repeat(32)}-top.drv` }),
    // A source: nobody built or signed it.
    info(LIB, { ca: "text:sha256:x" }),
    info(TAKEN, { signatures: ["cache.nixos.org-1:AA=="] }),
    info(OLD, { ultimate: true, registrationTime: NOW - 3600, signatures: ["own-1:AA=="] }),
  ]));
}

/** @param answer its status for a request; 204 unless it says otherwise */
async function server(answer: (request: IncomingMessage) => number | undefined = () => undefined) {
  const asked: string[] = [];
  const bodies = new Map<string, Buffer>();
  const { origin } = await loopback.http((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
      asked.push(`${request.method} ${request.url!.replace(/[0-9a-f]{64}/, "HASH")}`);
      bodies.set(request.url!, Buffer.concat(chunks));
      response.writeHead(answer(request) ?? (request.method === "HEAD" ? 404 : 204)).end();
    });
  });
  return { url: origin, asked, bodies };
}

const push = (...urls: string[]): Promise<Pushed> => pushBuilt({
  env: { PATH: `${home}/bin:${process.env["PATH"]}`, NIX_STORE_DIR: `${home}/store` }, connections: urls.map((url) => ({ url, token: "jwt" })), since: NOW * 1000, directory: path.join(home, "own"), deadlineMs: 10_000,
});

const narinfo = (name: string) => `/nix/${name.slice(0, 32)}.narinfo`;
const emptied = () => expect(readdirSync(path.join(home, "own"))).toEqual([]);

test("what was built goes, and what it needs that is nowhere else, references first; not what somebody has signed", async () => {
  stored();
  const { url, asked, bodies } = await server();
  expect(await push(url)).toMatchObject({ status: "pushed", paths: 3, present: 0, failed: 0, total: LIB.length + TOP.length + OLD.length, reason: undefined });
  expect(asked.filter((one) => one.startsWith("PUT") && one.endsWith(".narinfo")).indexOf(`PUT ${narinfo(LIB)}`)).toBeLessThan(asked.filter((one) => one.startsWith("PUT") && one.endsWith(".narinfo")).indexOf(`PUT ${narinfo(TOP)}`));
  expect(asked.some((one) => one.includes(narinfo(TAKEN)))).toBe(false);
  const text = bodies.get(narinfo(TOP))!.toString();
  const [, file] = /^URL: (nar\/([0-9a-f]{64})\.nar\.zst)$/m.exec(text)!;
  const packed = bodies.get(`/nix/${file}`)!;
  expect(zstdDecompressSync(packed).toString()).toBe(TOP);
  const fileHash = createHash("sha256").update(packed).digest("hex");
  expect(text).toBe(`StorePath: ${home}/store/${TOP}\nURL: nar/${fileHash}.nar.zst\nCompression: zstd\nFileHash: sha256:${fileHash}\nFileSize: ${packed.length}\nNarHash: sha256:${hashed(TOP).toString("hex")}\nNarSize: ${TOP.length}\nReferences: ${TOP} ${LIB} ${TAKEN}\nDeriver: ${"e".repeat(32)}-top.drv\n`);
  expect(bodies.get(narinfo(LIB))!.toString()).toContain("CA: text:sha256:x\n");
  emptied();
});

test("what the cache has is not sent again", async () => {
  stored();
  const { url, asked } = await server(({ method }) => (method === "HEAD" ? 200 : undefined));
  expect(await push(url)).toMatchObject({ status: "pushed", paths: 0, present: 3 });
  expect(asked.some((one) => one.startsWith("PUT"))).toBe(false);
});

test("a path that is damaged, or not taken, takes along those that need it, and no others", async () => {
  stored(LIB);
  const first = await server();
  expect(await push(first.url)).toMatchObject({ status: "pushed", paths: 1, failed: 2 });
  stored();
  const second = await server(({ method, url }) => (method === "PUT" && url === narinfo(LIB) ? 400 : undefined));
  expect(await push(second.url)).toMatchObject({ status: "pushed", paths: 1, failed: 2 });
  expect([...first.asked, ...second.asked]).not.toContain(`PUT ${narinfo(TOP)}`);
  emptied();
});

test.each([403, 507])("a server that says %d is not asked for the rest", async (status) => {
  stored();
  const { url, bodies } = await server(({ method }) => (method === "PUT" ? status : undefined));
  expect(await push(url)).toMatchObject({ status: "denied", paths: 0, reason: expect.stringContaining(String(status)) as string });
  expect([...bodies.keys()].some((one) => one.includes(".narinfo") && bodies.get(one)!.length > 0)).toBe(false);
  emptied();
});

test("where one server is away, the next one gets it; where all are, the job hears why", async () => {
  stored();
  const [dead, sick, well] = [(await loopback.dead()).origin, await server(({ method }) => (method === "PUT" ? 500 : undefined)), await server()];
  expect(await push(dead, sick.url, well.url)).toMatchObject({ status: "pushed", paths: 3, failed: 0 });
  expect(await push(dead)).toMatchObject({ status: "unavailable", paths: 0, reason: "connection refused" });
  emptied();
});

import { createServer, type Server } from "node:http";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COLUMNS, digestOf, formatManifest, headSize, type ColumnName, type Manifest, type Piece } from "../../../server/protocols/archive/wire.ts";
import { restoreArchive, saveArchive } from "../archive.ts";
import { encodeChunks, encodeMembers } from "./columns.ts";
import { deflate } from "./frames.ts";
import { DIRECTORY, FILE, HARDLINK, SYMLINK, type Member } from "./members.ts";

/** A server that serves one archive, whatever is wrong with it, or answers as a broken one does. */
let dir: string;
let server: Server | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "archive-hostile-"));
  mkdirSync(join(dir, "ws"));
  writeFileSync(join(dir, "outside"), "untouched");
});
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const member = (path: string, more: Partial<Member> = {}): Member => ({ path, root: 0, type: FILE, mode: 0o644, size: 0, seconds: 1, nanoseconds: 0, target: "", link: -1, ...more });
const root = member("", { type: DIRECTORY, mode: 0o755 });
const content = Buffer.from("content of a file");

interface Archive {
  readonly manifest: Buffer;
  readonly head: number;
  readonly body: Buffer;
}

function archive(members: readonly Member[], change: (manifest: Manifest, columns: Record<ColumnName, Buffer>) => Manifest = (manifest) => manifest, frame = deflate(content), name = "./tree"): Archive {
  const chunks = members.filter(({ size }) => size > 0).map(({ size }) => ({ id: Buffer.alloc(32), length: size }));
  const raw = { ...encodeMembers(members), ...encodeChunks(chunks, chunks.map(() => ({ frame: 0, start: 0 }))) };
  const blobs = Object.fromEntries(COLUMNS.map((column) => [column, deflate(raw[column])])) as Record<ColumnName, Buffer>;
  const piece = (bytes: Buffer, size: number): Piece => ({ digest: digestOf(bytes), size: bytes.length, raw: size });
  const columns = Object.fromEntries(COLUMNS.map((column) => [column, piece(blobs[column], raw[column].length)])) as Record<ColumnName, Piece>;
  const made = change({ roots: [{ name, members: members.length }], size: 0, files: 0, columns, frames: [piece(frame, content.length)] }, blobs);
  const manifest = formatManifest(made);
  const unique = new Map(COLUMNS.map((column) => [made.columns[column].digest, blobs[column]]));
  return { manifest, head: headSize(manifest.length, made), body: Buffer.concat([manifest, ...unique.values(), frame]) };
}

/** @returns the server's URL */
async function serve(listener: Parameters<typeof createServer>[1]): Promise<string> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function serving({ manifest, head, body }: Archive, spoil: (bytes: Buffer, start: number) => Buffer = (bytes) => bytes): Promise<string> {
  return serve((request, response) => {
    if (request.url!.endsWith("/find")) {
      request.resume();
      return void response.end(JSON.stringify({ hit: true, key: "k", id: 1, digest: digestOf(manifest), size: body.length, manifest: manifest.length, head }));
    }
    const [, start, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.range!)!.map(Number);
    const bytes = spoil(Buffer.from(body.subarray(start!, end! + 1)), start!);
    response.writeHead(206, { "content-length": end! + 1 - start! });
    response.end(bytes);
  });
}

async function restore(url: string) {
  const began = performance.now();
  const result = await restoreArchive({ url, token: "t" }, { key: "k", restoreKeys: [], version: "v", paths: ["tree"], root: join(dir, "ws"), stateDir: join(dir, "state"), deadlineMs: 20_000 });
  return { ...result, seconds: (performance.now() - began) / 1000 };
}

/** Nothing was made, and nothing is left of the attempt. */
function untouched(): void {
  expect(readdirSync(join(dir, "ws"))).toEqual([]);
  expect(readFileSync(join(dir, "outside"), "utf8")).toBe("untouched");
}

it("an archive that is as it should be is restored", async () => {
  const members = [root, member("a", { size: content.length }), member("d", { type: DIRECTORY, mode: 0o755 }), member("d/b", { size: content.length }), member("link", { type: SYMLINK, target: "a" })];
  expect(await restore(await serving(archive(members)))).toMatchObject({ status: "hit" });
  expect(readFileSync(join(dir, "ws/tree/d/b"))).toEqual(content);
});

describe("a hostile archive", () => {
  const file = (path: string) => member(path, { size: content.length });
  it.each<[string, Archive]>([
    ["a member called ..", archive([root, file("..")])],
    ["a member above the root", archive([root, file("../../outside")])],
    ["a member with an absolute path", archive([root, file("/outside")])],
    ["a member in a directory that is none", archive([root, file("d/b")])],
    ["a member below a link", archive([root, member("d", { type: SYMLINK, target: "../.." }), file("d/outside")])],
    ["a member twice", archive([root, member("a", { type: SYMLINK, target: "../../outside" }), file("a")])],
    ["a root that is not asked for", archive([root, file("a")], undefined, undefined, "./other")],
    ["a root above the workspace", archive([root, file("a")], undefined, undefined, "./../tree")],
    ["an absolute root", archive([root, file("a")], undefined, undefined, "/tree")],
    ["a hard link to what is no file", archive([root, member("h", { type: HARDLINK, link: 0 })])],
    ["a hard link to nothing", archive([root, member("h", { type: HARDLINK, link: 99 })])],
    ["chunks outside the frame", archive([root, member("a", { size: content.length + 1 })])],
    ["a frame that inflates to more than it says", archive([root, file("a")], undefined, deflate(Buffer.alloc(50_000_000)))],
    ["a column that inflates to more than it says", archive([root, file("a")], (manifest) => ({ ...manifest, columns: { ...manifest.columns, ids: { ...manifest.columns.ids, raw: 0 } } }))],
    ["more members than paths", archive([root, file("a")], (manifest) => ({ ...manifest, roots: [{ name: "./tree", members: 9 }] }))],
    ["no columns", archive([root], (manifest) => ({ ...manifest, columns: Object.fromEntries(COLUMNS.map((name) => [name, manifest.columns.ids])) as never }))],
  ])("with %s is refused, and nothing is touched", async (_, one) => {
    expect(await restore(await serving(one))).toMatchObject({ status: "unavailable" });
    untouched();
  });

  it("can't write through a link that is there already", async () => {
    mkdirSync(join(dir, "elsewhere"));
    mkdirSync(join(dir, "ws/tree"));
    symlinkSync(join(dir, "elsewhere"), join(dir, "ws/tree/d"));
    expect(await restore(await serving(archive([root, member("d", { type: DIRECTORY, mode: 0o755 }), file("d/b")])))).toMatchObject({ status: "hit" });
    expect(readdirSync(join(dir, "elsewhere"))).toEqual([]);
  });
});

describe("a server that is not well", () => {
  const good = archive([root, member("a", { size: content.length })]);
  const lookup = (response: import("node:http").ServerResponse) => response.end(JSON.stringify({ hit: true, key: "k", id: 1, digest: digestOf(good.manifest), size: good.body.length, manifest: good.manifest.length, head: good.head }));

  it.each<[string, () => Promise<string>]>([
    ["flips a byte of the manifest", () => serving(good, (bytes, start) => (start === 0 ? flipped(bytes, 30) : bytes))],
    ["flips a byte of a column", () => serving(good, (bytes, start) => (start === 0 ? flipped(bytes, good.manifest.length + 5) : bytes))],
    ["flips a byte of a frame", () => serving(good, (bytes, start) => flipped(bytes, good.head + 9 - start))],
    ["cuts bodies off", () => serving(good, (bytes, start) => bytes.subarray(0, good.head + 3 - start))],
    ["answers 500", () => serve((_, response) => void response.writeHead(500).end("no"))],
    ["answers 404 with HTML", () => serve((_, response) => void response.writeHead(404, { "content-type": "text/html" }).end("<html>"))],
    ["answers 200 with HTML", () => serve((_, response) => void response.end("<html>"))],
    ["answers 429", () => serve((_, response) => void response.writeHead(429, { "retry-after": "60" }).end("{}"))],
    ["answers 507 to downloads", () => serve((request, response) => void (request.url!.endsWith("find") ? lookup(response) : response.writeHead(507).end("{}")))],
    ["sends the whole body instead of a range", () => serve((request, response) => void (request.url!.endsWith("find") ? lookup(response) : response.end(good.body)))],
    ["hangs before it answers", () => serve(() => {})],
    ["hangs after the headers of a download", () => serve((request, response) => void (request.url!.endsWith("find") ? lookup(response) : response.writeHead(206, { "content-length": good.head }).flushHeaders()))],
    ["hangs up", () => serve((request) => void request.socket.destroy())],
    ["hangs up in the middle of a download", () => serve((request, response) => {
      if (request.url!.endsWith("find")) return void lookup(response);
      response.writeHead(206, { "content-length": 100 }).write("x");
      setTimeout(() => response.destroy(), 20);
    })],
  ])("costs no more than 5 s and changes nothing when it %s", async (_, start) => {
    const { status, seconds } = await restore(await start());
    expect(status).toBe("unavailable");
    expect(seconds).toBeLessThan(5.5);
    untouched();
  });

  it("is asked for the rest alone when a connection broke", async () => {
    const asked: number[] = [];
    const url = await serve((request, response) => {
      if (request.url!.endsWith("find")) return void lookup(response);
      const [, start, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.range!)!.map(Number);
      response.writeHead(206, { "content-length": end! + 1 - start! });
      if (asked.push(start!) > 1) return void response.end(good.body.subarray(start));
      response.write(good.body.subarray(0, good.head + 5));
      setTimeout(() => response.destroy(), 50);
    });
    expect(await restore(url)).toMatchObject({ status: "hit", bytes: good.body.length });
    expect(asked).toEqual([0, good.head + 5]);
    expect(readFileSync(join(dir, "ws/tree/a"))).toEqual(content);
  });

  it.each<[string, () => Promise<string>]>([
    ["answers 500", () => serve((_, response) => void response.writeHead(500).end("no"))],
    ["hangs", () => serve(() => {})],
    ["hangs after the reservation", () => serve((request, response) => void (request.url!.endsWith("reserve") ? response.writeHead(201).end('{"upload":"u"}') : undefined))],
    ["loses all it was sent", () => serve((request, response) => {
      request.resume();
      request.on("end", () => response.writeHead(200).end(request.url!.endsWith("reserve") ? '{"upload":"u"}' : request.url!.endsWith("have") ? Buffer.alloc(16, 0xff).fill(0, 0, 4) : '{"missing":["' + "0".repeat(64) + '"]}'));
    })],
  ])("lets a save end within 5 s when it %s", async (_, start) => {
    mkdirSync(join(dir, "ws/tree"));
    writeFileSync(join(dir, "ws/tree/a"), content);
    const url = await start();
    const began = performance.now();
    const result = await saveArchive({ url, token: "t" }, { key: "k", version: "v", paths: ["tree"], root: join(dir, "ws"), stateDir: join(dir, "state"), deadlineMs: 20_000 });
    expect(result.status).toBe("unavailable");
    expect((performance.now() - began) / 1000).toBeLessThan(5.5);
    expect(existsSync(join(dir, "state"))).toBe(false);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  bytes[at]! ^= 1;
  return bytes;
}

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COLUMN, findPath, frame, manifestOf, records, startArchive, type ArchiveServer } from "../../../test/fixtures/archive.ts";
import { blobsPath, bodyPath, commitPath, digestOf, havePath, RESERVE, uploadPath, type Found } from "./wire.ts";

let server: ArchiveServer;
beforeAll(async () => {
  server = await startArchive();
});
afterAll(() => server.stop());

const chunk = (size = 5_000) => randomBytes(size);
const find = async (token: string, key: string, restoreKeys: string[] = [], version = "v") =>
  (await (await server.post(findPath, token, { key, restore_keys: restoreKeys, version })).json()) as Found & { hit: boolean };
const scoped = (scope: string, reads = [scope, "local:main"]) => server.key({ permission: "write", scope, reads });

describe("an archive", () => {
  it("is found by key, by prefix and by nothing else, and read in ranges", async () => {
    const frames = [frame(chunk(), chunk()), frame(chunk(300_000))];
    const id = await server.save(server.write, "linux-abc", frames);
    const manifest = manifestOf(frames);
    const body = Buffer.concat([manifest, COLUMN, ...frames.map(({ bytes }) => bytes)]);
    const expected = { hit: true, key: "linux-abc", id, digest: digestOf(manifest), size: body.length, manifest: manifest.length, head: manifest.length + COLUMN.length };
    expect(await find(server.read, "linux-abc")).toEqual(expected);
    expect(await find(server.read, "linux-x", ["mac", "linux-"])).toEqual(expected);
    expect(await find(server.read, "linux-abc", [], "other")).toEqual({ hit: false });
    const whole = await server.get(bodyPath(id), server.read);
    expect(Buffer.from(await whole.arrayBuffer()).equals(body)).toBe(true);
    const part = await server.get(bodyPath(id), server.read, { range: `bytes=10-${body.length - 20}` });
    expect([part.status, Buffer.from(await part.arrayBuffer()).equals(body.subarray(10, -19))]).toEqual([206, true]);
  });

  it("is immutable", async () => {
    await server.save(server.write, "fixed", [frame(chunk())]);
    expect((await server.post(RESERVE, server.write, { key: "fixed", version: "v" })).status).toBe(409);
  });

  it("gets another name in one small request, without an upload", async () => {
    const frames = [frame(chunk(400_000))];
    const id = await server.save(server.write, "first", frames);
    const digest = digestOf(manifestOf(frames));
    const answer = await server.post(RESERVE, server.write, { key: "second", version: "v", digest });
    expect([answer.status, await answer.json()]).toMatchObject([201, { committed: true }]);
    expect((await server.post(RESERVE, server.write, { key: "second", version: "v", digest })).status).toBe(409);
    await server.core.catalog.removeIds([id], { at: 0, actor: "t", action: "rm", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    await server.core.maintenance.collect(-1_000);
    const found = await find(server.read, "second");
    expect(Buffer.from(await (await server.get(bodyPath(found.id), server.read)).arrayBuffer()).subarray(-frames[0]!.bytes.length).equals(frames[0]!.bytes)).toBe(true);
  });

  it("reserves as usual when the digest names nothing the writer reads", async () => {
    const pull = await scoped("team:pull");
    const frames = [frame(chunk())];
    await server.save(pull, "theirs", frames);
    const answer = await server.post(RESERVE, server.write, { key: "mine", version: "v", digest: digestOf(manifestOf(frames)) });
    expect(await answer.json()).toEqual({ upload: expect.any(String) });
  });
});

describe("an upload", () => {
  it("that is given up frees its key at once, for whoever may give it up", async () => {
    const upload = await server.reserve(server.write, "given up");
    const drop = (token: string) => fetch(server.url + uploadPath(upload), { method: "DELETE", headers: { authorization: `Bearer ${token}` } });
    expect((await drop(await scoped("team:pull-4"))).status).toBe(404);
    expect((await server.post(RESERVE, server.write, { key: "given up", version: "v" })).status).toBe(409);
    expect((await drop(server.write)).status).toBe(204);
    await server.reserve(server.write, "given up");
  });
});

describe("chunks", () => {
  it("are offered once they were verified, to every writer of the cache and to no reader", async () => {
    const [a, b, unknown] = [chunk(), chunk(), chunk()];
    const one = frame(a, b);
    await server.save(await scoped("team:pull"), "chunks", [one]);
    const upload = await server.reserve(server.write, "chunks");
    expect(await server.have(server.write, upload, [b, unknown, a])).toEqual([
      { frame: one.piece, start: a.length, length: b.length }, undefined, { frame: one.piece, start: 0, length: a.length },
    ]);
    expect((await server.post(havePath(upload), server.read, Buffer.alloc(32))).status).toBe(403);
  });

  it("of another cache are not offered", async () => {
    const other = await startArchive({ caches: { default: {}, other: {} } });
    try {
      const one = frame(chunk());
      await other.save(await other.key({ permission: "write", caches: ["other"] }), "k", [one]);
      const upload = await other.reserve(other.write, "k");
      expect(await other.have(other.write, upload, [one.chunks[0]!])).toEqual([undefined]);
    } finally {
      await other.stop();
    }
  });

  it("found for an upload stay until it ends, whoever collects meanwhile", async () => {
    const one = frame(chunk(200_000));
    const id = await server.save(server.write, "leased", [one]);
    const upload = await server.reserve(server.write, "leased-2");
    expect(await server.have(server.write, upload, [one.chunks[0]!])).toHaveLength(1);
    await server.core.catalog.removeIds([id], { at: 0, actor: "t", action: "rm", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    await server.core.maintenance.collect(-1_000);
    await server.post(blobsPath(upload), server.write, records([]));
    const commit = await server.post(commitPath(upload), server.write, manifestOf([one]));
    expect(await commit.json()).toMatchObject({ id: expect.any(Number) });
  });

  it("die with the last archive that holds their frame", async () => {
    const one = frame(chunk());
    const id = await server.save(server.write, "dying", [one]);
    await server.core.catalog.removeIds([id], { at: 0, actor: "t", action: "rm", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    await server.core.maintenance.collect(-1_000);
    const upload = await server.reserve(server.write, "dying-2");
    expect(await server.have(server.write, upload, [one.chunks[0]!])).toEqual([undefined]);
  });
});

describe("a lying client", () => {
  const lies = (() => {
    const [a, b] = [chunk(), chunk()];
    const honest = frame(a, b);
    const forged = (bytes: Buffer) => ({ ...honest, bytes, piece: { ...honest.piece, digest: digestOf(bytes), size: bytes.length } });
    return [
      ["other chunks", honest, () => [a, chunk(b.length)]],
      ["fewer chunks", honest, () => [a]],
      ["more chunks", honest, () => [a, b, chunk()]],
      ["another digest", { ...honest, piece: { ...honest.piece, digest: digestOf(a) } }, undefined],
      ["no frame", forged(chunk(100)), undefined],
      ["a cut frame", forged(honest.bytes.subarray(0, -3)), undefined],
      ["a frame and more", forged(Buffer.concat([honest.bytes, honest.bytes])), undefined],
      ["an empty chunk", honest, () => [a, Buffer.alloc(0), b]],
    ] as const;
  })();

  it.each(lies)("is refused for %s, and nothing is indexed", async (name, one, claimed) => {
    const upload = await server.reserve(server.write, `lie ${name}`);
    expect((await server.post(blobsPath(upload), server.write, records([one], claimed as never))).status).toBe(400);
    expect(await server.have(server.write, upload, [...one.chunks])).toEqual(one.chunks.map(() => undefined));
    expect(await (await server.post(commitPath(upload), server.write, manifestOf([one]))).json()).toEqual({ missing: [one.piece.digest] });
  });

  it("gets no blob by its digest alone", async () => {
    const pull = await scoped("team:secretive");
    const one = frame(chunk());
    await server.save(pull, "secret", [one]);
    const upload = await server.reserve(server.write, "thief");
    await server.post(blobsPath(upload), server.write, records([]));
    expect(await (await server.post(commitPath(upload), server.write, manifestOf([one]))).json()).toEqual({ missing: [one.piece.digest] });
  });

  it.each([
    ["JSON that is none", Buffer.from("{")],
    ["a frame listed twice", (() => { const one = frame(chunk()); return manifestOf([one, one]); })()],
    ["a wrong size", (() => { const one = frame(chunk()); return manifestOf([{ ...one, piece: { ...one.piece, size: one.piece.size + 1 } }]); })()],
  ])("can't commit %s", async (name, manifest) => {
    const upload = await server.reserve(server.write, `bad ${name}`);
    const answer = await server.post(commitPath(upload), server.write, manifest);
    if (answer.status === 200) expect(await answer.json()).toHaveProperty("missing");
    else expect(answer.status).toBe(400);
    expect(await find(server.read, `bad ${name}`)).toEqual({ hit: false });
  });
});

describe("scopes", () => {
  it("hide archives, by name and by number", async () => {
    const pull = await scoped("team:pull-2");
    const id = await server.save(pull, "hidden", [frame(chunk())]);
    expect(await find(server.write, "hidden")).toEqual({ hit: false });
    expect((await find(pull, "hidden")).hit).toBe(true);
    for (const token of [server.read, server.write]) expect((await server.get(bodyPath(id), token)).status).toBe(404);
    expect((await server.get(bodyPath(id), pull)).status).toBe(200);
  });

  it("keep uploads to themselves", async () => {
    const upload = await server.reserve(server.write, "own");
    const pull = await scoped("team:pull-3");
    expect((await server.post(havePath(upload), pull, Buffer.alloc(32))).status).toBe(404);
    expect((await server.post(commitPath(upload), pull, manifestOf([]))).status).toBe(404);
  });

  it("let a read-only credential write nothing", async () => {
    expect((await server.post(RESERVE, server.read, { key: "k", version: "v" })).status).toBe(403);
    expect((await server.post(RESERVE, "", { key: "k", version: "v" })).status).toBe(401);
  });
});

import { hash } from "node:crypto";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { bytesOf, CAS, FIXED, grant, LOOSE, putText, startCore, testCache, textOf, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import type { Upload } from "./uploads.ts";

const main = grant("local:main");
const other = grant("local:other");
const pull = grant("1:refs/pull/7/merge", { read: ["1:refs/pull/7/merge", "local:main"], trusted: false });

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

async function uploadOf(on: TestCore, texts: readonly string[], key = "k", by = main): Promise<Upload> {
  const upload = await on.uploads.reserve(by, FIXED, key, "");
  for (const [i, text] of texts.entries()) await on.uploads.part(upload, `p${i}`, i, Buffer.from(text));
  return upload;
}

const open = async (on: TestCore) => (await on.database.read("usage", {})).filter((row) => row.keyspace === "uploads" && row.bytes > 0);

describe("an upload in parts", () => {
  test("is invisible until it is committed, and then whole", async () => {
    const on = await core();
    const upload = await uploadOf(on, ["one ", "two ", "x".repeat(500)]);
    expect(await textOf(on, main, FIXED, "k")).toBeUndefined();
    expect(await on.catalog.find(main, FIXED, { key: "k", prefixes: ["k"], version: "" })).toBeUndefined();
    expect(await on.catalog.list(main, { limit: 10 })).toEqual([]);
    await on.uploads.commit(main, FIXED, upload, { parts: null, size: 508 });
    expect(await textOf(on, main, FIXED, "k")).toBe(`one two ${"x".repeat(500)}`);
    expect(await open(on)).toEqual([]);
    expect(await on.quota.usage("default", true)).toEqual({ trusted: 508, untrusted: 0 });
  });

  test("takes its parts in any order, replaced ones as they were last, and only those that are listed", async () => {
    const on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    for (const [name, position, text] of [["c", 20, "C"], ["a", 0, "old"], ["x", 99, "dropped"], ["b", 10, "B"], ["a", 0, "A"]] as const) await on.uploads.part(upload, name, position, Buffer.from(text));
    expect(await on.uploads.parts(upload)).toEqual([{ name: "a", position: 0, size: 1 }, { name: "b", position: 10, size: 1 }, { name: "c", position: 20, size: 1 }, { name: "x", position: 99, size: 7 }]);
    const entry = await on.uploads.commit(main, FIXED, upload, { parts: ["b", "a", "c"] });
    expect((await bytesOf(await on.bodies.open(entry))).toString()).toBe("BAC");
  });

  test("commits nothing that is not as announced, and can be committed right after that", async () => {
    const on = await core();
    const upload = await uploadOf(on, ["four"]);
    await expect(on.uploads.commit(main, FIXED, upload, { parts: null, size: 5 })).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
    await expect(on.uploads.commit(main, FIXED, upload, { parts: ["p0", "p1"] })).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    expect(await textOf(on, main, FIXED, "k")).toBeUndefined();
    await on.uploads.commit(main, FIXED, upload, { parts: null, size: 4 });
    expect(await textOf(on, main, FIXED, "k")).toBe("four");
  });

  test("is no way round the largest entry", async () => {
    const on = await core({ caches: [testCache({ entrySize: 10 })] });
    await expect(on.uploads.reserve(main, FIXED, "k", "", { size: 11 })).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    const upload = await uploadOf(on, ["123456", "123456"]);
    await expect(on.uploads.commit(main, FIXED, upload, { parts: null })).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    await expect(on.uploads.commit(main, FIXED, upload, { parts: null, size: 12 })).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    await on.uploads.commit(main, FIXED, upload, { parts: ["p0"] });
  });

  test("is over once committed, aborted or expired", async () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const on = await core({ uploads: { idle: 1_000, parts: 10, perActor: 10 } });
    const gone = { code: "STOW_UPLOAD_GONE", status: 404 };
    const ends: [string, (upload: Upload) => Promise<unknown>][] = [
      ["committed", (upload) => on.uploads.commit(main, FIXED, upload, { parts: null })],
      ["aborted", (upload) => on.uploads.abort(upload)],
      ["expired", async () => void vi.advanceTimersByTime(1_000)],
    ];
    for (const [key, end] of ends) {
      const upload = await uploadOf(on, ["x"], key);
      await end(upload);
      await expect(on.uploads.get(upload.id), key).rejects.toMatchObject(gone);
      await expect(on.uploads.get(upload.number), key).rejects.toMatchObject(gone);
      await expect(on.uploads.find(main, FIXED, key, ""), key).rejects.toMatchObject(gone);
      await expect(on.uploads.part(upload, "p9", 9, Buffer.from("y".repeat(200))), key).rejects.toMatchObject(gone);
      await expect(on.uploads.commit(main, FIXED, upload, { parts: null }), key).rejects.toMatchObject(gone);
    }
    expect(await on.files()).toEqual([]);
  });

  test("lives on while parts arrive, and its name is free once it has expired", async () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const on = await core({ uploads: { idle: 1_000, parts: 10, perActor: 10 } });
    const upload = await uploadOf(on, ["x"]);
    for (let i = 1; i < 5; i++) {
      vi.advanceTimersByTime(900);
      await on.uploads.part(upload, `p${i}`, i, Buffer.from("x"));
    }
    vi.advanceTimersByTime(999);
    await expect(on.uploads.reserve(main, FIXED, "k", "")).rejects.toMatchObject({ code: "STOW_EXISTS" });
    vi.advanceTimersByTime(1);
    const next = await uploadOf(on, ["next"]);
    await on.uploads.commit(main, FIXED, next, { parts: null });
    expect(await textOf(on, main, FIXED, "k")).toBe("next");
  });

  test("that nobody goes on with is swept, and its bytes with it", async () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const on = await core({ uploads: { idle: 1_000, parts: 10, perActor: 10 }, maintenance: { interval: 1e6, grace: 5_000, auditRetention: 1e9 } });
    await uploadOf(on, ["x".repeat(300)]);
    expect(await open(on)).toMatchObject([{ bytes: 300 }]);
    vi.advanceTimersByTime(1_001);
    await on.maintenance.pass();
    expect(await open(on)).toEqual([]);
    expect(await on.files()).toHaveLength(1);
    vi.advanceTimersByTime(5_001);
    await on.maintenance.pass();
    expect(await on.files()).toEqual([]);
    expect(on.failures).toEqual([]);
  });

  test("survives a restart of the server between any two steps", async () => {
    let on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "", { metadata: '{"m":1}' });
    on = await on.restart();
    await on.uploads.part(await on.uploads.get(upload.id), "a", 0, Buffer.from("x".repeat(300)));
    on = await on.restart();
    await on.uploads.part(await on.uploads.find(main, FIXED, "k", ""), "b", 1, Buffer.from("end"));
    await expect(on.uploads.reserve(main, FIXED, "k", "")).rejects.toMatchObject({ code: "STOW_EXISTS" });
    on = await on.restart();
    const entry = await on.uploads.commit(main, FIXED, await on.uploads.get(upload.number), { parts: ["a", "b"], size: 303 });
    expect(entry.metadata).toBe('{"m":1}');
    on = await on.restart();
    onTestFinished(() => on.close());
    expect(await textOf(on, main, FIXED, "k")).toBe(`${"x".repeat(300)}end`);
  });

  test("of two committers exactly one wins, whatever they list", async () => {
    const on = await core();
    const upload = await uploadOf(on, ["a", "b"]);
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => on.uploads.commit(main, FIXED, upload, { parts: [`p${i % 2}`] })));
    expect(results.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    for (const one of results) if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "STOW_UPLOAD_GONE" });
  });

  test("of many who reserve a name exactly one gets it", async () => {
    const on = await core();
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => on.uploads.reserve(main, FIXED, "k", "")));
    expect(results.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    for (const one of results) if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "STOW_EXISTS", status: 409 });
  });

  test("belongs to the scope it was reserved in: its id alone commits nothing", async () => {
    const on = await core();
    const upload = await uploadOf(on, ["x"]);
    const readOnly = { ...main, write: null };
    for (const by of [other, pull, { ...main, cache: "other" }]) await expect(on.uploads.commit(by, FIXED, upload, { parts: null })).rejects.toMatchObject({ code: "STOW_UPLOAD_GONE" });
    await expect(on.uploads.commit(main, LOOSE, upload, { parts: null })).rejects.toMatchObject({ code: "STOW_UPLOAD_GONE" });
    await expect(on.uploads.commit(readOnly, FIXED, upload, { parts: null })).rejects.toMatchObject({ code: "STOW_FORBIDDEN_WRITE" });
    await expect(on.uploads.reserve(readOnly, FIXED, "free", "")).rejects.toMatchObject({ code: "STOW_FORBIDDEN_WRITE" });
    await expect(on.uploads.find(other, FIXED, "k", "")).rejects.toMatchObject({ code: "STOW_UPLOAD_GONE" });
    await on.uploads.commit({ ...main, actor: "key:another" }, FIXED, upload, { parts: null });
  });

  test("may replace an entry where the keyspace allows it, and not elsewhere", async () => {
    const on = await core();
    for (const keyspace of [LOOSE, FIXED]) await putText(on, main, keyspace, "k", "before");
    await expect(on.uploads.reserve(main, FIXED, "k", "")).rejects.toMatchObject({ code: "STOW_EXISTS" });
    const upload = await on.uploads.reserve(main, LOOSE, "k", "");
    await on.uploads.part(upload, "a", 0, Buffer.from("after"));
    await on.uploads.commit(main, LOOSE, upload, { parts: null });
    expect([await textOf(on, main, LOOSE, "k"), await textOf(on, main, FIXED, "k")]).toEqual(["after", "before"]);
  });

  test("has a bounded number of parts, and a credential of uploads", async () => {
    const on = await core({ uploads: { idle: 60_000, parts: 2, perActor: 2 } });
    const upload = await uploadOf(on, ["a", "b"]);
    await expect(on.uploads.part(upload, "c", 2, Buffer.from("x".repeat(300)))).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    expect(await on.files()).toEqual([]);
    await on.uploads.part(upload, "p1", 1, Buffer.from("again"));
    await on.uploads.reserve(main, FIXED, "second", "");
    await expect(on.uploads.reserve(main, FIXED, "third", "")).rejects.toMatchObject({ code: "STOW_TOO_MANY_UPLOADS", status: 429 });
    await on.uploads.reserve(other, FIXED, "third", "");
    await on.uploads.abort(upload);
    await on.uploads.reserve(main, FIXED, "third", "");
  });

  test.each([["fewer bytes", "xx", { size: 3 }], ["more bytes", "xxxx", { size: 3 }], ["another digest", "xxx", { digest: "0".repeat(64) }]])("refuses a part with %s than announced", async (_, text, options) => {
    const on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    await expect(on.uploads.part(upload, "a", 0, Buffer.from(text), options)).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
    expect(await on.uploads.parts(upload)).toEqual([]);
  });

  test("leaves a line in the audit log when it is committed, with its size", async () => {
    const on = await core();
    const upload = await uploadOf(on, ["abc"]);
    await on.uploads.commit(main, FIXED, upload, { parts: null, address: "10.0.0.1" });
    expect(on.audited).toMatchObject([{ action: "put", key: "k", size: 3, address: "10.0.0.1" }]);
    expect(await on.database.read("queryAudit", { limit: 5 })).toMatchObject([{ action: "put", key: "k", size: 3 }]);
  });
});

describe("an upload in parts that is named by its digest", () => {
  const texts = ["one ", "x".repeat(300), " two"];
  const digest = hash("sha256", texts.join(""));
  const plain = { parts: null, pass: (body: AsyncIterable<Buffer>) => body, metadata: () => "{}" };

  test("is read by all scopes once it was verified, and is moved by nobody", async () => {
    const on = await core();
    const upload = await uploadOf(on, texts);
    const before = await on.files();
    const entry = await on.uploads.commitVerified(main, FIXED, upload, CAS, digest, { ...plain, size: 308 });
    expect(entry).toMatchObject({ key: digest, digest, metadata: "{}", size: 308 });
    expect(await textOf(on, pull, CAS, digest)).toBe(texts.join(""));
    expect(await textOf(on, main, FIXED, "k")).toBeUndefined();
    expect(await on.files()).toEqual(before);
    expect(await open(on)).toEqual([]);
    expect(on.audited).toMatchObject([{ action: "put", keyspace: "cas", scope: "*", key: digest, size: 308 }]);
  });

  test("is refused with another digest or size, and can be committed right after that", async () => {
    const on = await core();
    const upload = await uploadOf(on, texts);
    for (const [of, more] of [["0".repeat(64), {}], [digest, { size: 307 }], [digest, { parts: ["p1", "p0", "p2"] }]] as const) {
      await expect(on.uploads.commitVerified(main, FIXED, upload, CAS, of, { ...plain, ...(more as object) })).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
    }
    await expect(on.uploads.commitVerified(main, FIXED, upload, CAS, digest, { ...plain, parts: ["p9"] })).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    await expect(on.uploads.commitVerified(other, FIXED, upload, CAS, digest, plain)).rejects.toMatchObject({ code: "STOW_UPLOAD_GONE" });
    expect(await textOf(on, main, CAS, digest)).toBeUndefined();
    await on.uploads.commitVerified(main, FIXED, upload, CAS, digest, plain);
  });

  test("holds nothing that came after it was read", async () => {
    const on = await core();
    const upload = await uploadOf(on, texts);
    async function* meanwhile(body: AsyncIterable<Buffer>) {
      yield* body;
      await on.uploads.part(upload, "p1", 1, Buffer.from("y".repeat(300)));
    }
    await expect(on.uploads.commitVerified(main, FIXED, upload, CAS, digest, { ...plain, pass: meanwhile })).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    expect(await textOf(on, main, CAS, digest)).toBeUndefined();
  });

  test("is one use of what is there already", async () => {
    const on = await core();
    const first = await on.uploads.commitVerified(pull, FIXED, await uploadOf(on, texts, "k", pull), CAS, digest, plain);
    const second = await on.uploads.commitVerified(main, FIXED, await uploadOf(on, [texts.join("")]), CAS, digest, plain);
    expect(second.id).toBe(first.id);
    expect(await open(on)).toEqual([]);
  });
});

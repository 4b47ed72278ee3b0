import { hash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DiskStore } from "./store.ts";
import { trim } from "./trim.ts";

let root: string;
let store: DiskStore;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "stowhouse-store-"));
  store = new DiskStore(root, 0);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const id = (name: string) => hash("sha256", name);
const add = (name: string, text: string) => store.add(id(name), id(text), Buffer.from(text), 1000);

describe("the disk store", () => {
  it("gives back what was put, from another process too", () => {
    const writer = store.begin(id("a"), id("hello"), 5);
    writer.write(Buffer.from("hel"));
    writer.write(Buffer.from("lo"));
    const stored = writer.commit(id("hello"));
    expect(new DiskStore(root, 0).get(id("a"))).toEqual(stored);
    expect(stored).toMatchObject({ output: id("hello"), size: 5 });
  });

  it("keeps nothing of a body that is not the output it is said to be", () => {
    const writer = store.begin(id("a"), id("hello"), 5);
    writer.write(Buffer.from("other"));
    expect(() => writer.commit(id("hello"))).toThrow("hashes to");
    expect(store.get(id("a"))).toBeUndefined();
    expect(readdirSync(path.join(root, "tmp"))).toEqual([]);
  });

  it("knows empty outputs, and outputs that several actions share", () => {
    add("empty", "");
    add("a", "same");
    add("b", "same");
    expect(store.get(id("empty"))).toMatchObject({ size: 0 });
    expect(store.get(id("a"))!.path).toBe(store.get(id("b"))!.path);
  });

  it.each([
    ["an output cut short", (file: string) => truncateSync(file, 2)],
    ["an output that is gone", (file: string) => rmSync(file)],
  ])("misses %s, as a dead process or a power cut leaves it", (_, harm) => {
    harm(add("a", "hello").path);
    expect(store.get(id("a"))).toBeUndefined();
  });

  it("misses an action whose line is not whole, and takes what follows", () => {
    add("a", "hello");
    add("b", "world");
    const file = path.join(root, "actions");
    writeFileSync(file, readFileSync(file, "latin1").replace(id("hello"), "\0\0"));
    const next = new DiskStore(root, 0);
    expect([next.get(id("a")), next.get(id("b"))?.size]).toEqual([undefined, 5]);
    truncateSync(file, statSync(file).size - 3);
    const cut = new DiskStore(root, 0);
    cut.add(id("c"), id("c's"), Buffer.from("c's"), 1000);
    cut.add(id("d"), id("d's"), Buffer.from("d's"), 1000);
    expect(new DiskStore(root, 0).get(id("d"))?.size).toBe(3);
  });

  it("sees what another process stores while it runs, after the list was tidied up too", () => {
    const other = new DiskStore(root, 0);
    add("a", "hello");
    expect(other.get(id("a"))?.size).toBe(5);
    trim(root, { maxSize: 1e9, maxAge: 1e9 });
    const third = new DiskStore(root, 0);
    third.add(id("b"), id("world!"), Buffer.from("world!"), 1000);
    expect([other.get(id("b"))?.size, other.get(id("a"))?.size]).toEqual([6, 5]);
  });

  it("hashes what was written before the machine came up, and drops what a power cut has changed", () => {
    const [good, bad] = [add("good", "hello"), add("bad", "world")];
    writeFileSync(bad.path, "wor\0\0");
    const yesterday = Date.now() / 1000 - 86_400;
    for (const { path: file } of [good, bad]) utimesSync(file, yesterday, yesterday);
    const later = new DiskStore(root, Date.now() - 1000);
    expect(later.get(id("good"))).toBeDefined();
    expect(later.get(id("bad"))).toBeUndefined();
    expect(existsSync(bad.path)).toBe(false);
  });
});

describe("trimming", () => {
  const age = (file: string, ms: number) => utimesSync(file, (Date.now() - ms) / 1000, (Date.now() - ms) / 1000);
  const HOUR = 3_600_000;

  it("removes what was not used for too long, and nothing else", () => {
    const [old, used] = [add("old", "old output"), add("used", "used output")];
    age(old.path, 10 * HOUR);
    expect(trim(root, { maxSize: 1e9, maxAge: 5 * HOUR })).toMatchObject({ removed: 1 });
    expect([store.get(id("old")), store.get(id("used"))]).toEqual([undefined, used]);
  });

  it("removes what was not used for longest until the rest fits, but nothing of the last hour", () => {
    const all = ["one", "two", "three", "four"].map((name) => add(name, `the output ${name}`.padEnd(100)));
    for (const [i, { path: file }] of all.entries()) age(file, i === 3 ? 0 : (9 - i) * HOUR);
    trim(root, { maxSize: 250, maxAge: 100 * HOUR });
    expect(["one", "two", "three", "four"].map((name) => store.get(id(name)) !== undefined)).toEqual([false, false, true, true]);
    rmSync(path.join(root, "trimmed"));
    trim(root, { maxSize: 1, maxAge: 100 * HOUR });
    expect(store.get(id("four"))).toBeDefined();
  });

  it("looks through the store once an hour at most", () => {
    expect(trim(root, { maxSize: 1, maxAge: 1 })).toBeDefined();
    expect(trim(root, { maxSize: 1, maxAge: 1 })).toBeUndefined();
  });
});

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NipHome } from "../../../test/fixtures/nip-client.ts";
import { isLocalKey, LocalDirectory } from "./local.ts";

let home: NipHome;
let local: LocalDirectory;
beforeEach(() => {
  home = new NipHome();
  local = new LocalDirectory(home.directory);
});
afterEach(() => home.remove());

describe("the local directory", () => {
  it("is empty when it is not there, and has what nip wrote", async () => {
    expect([await local.list(), await local.find("a")]).toEqual([[], undefined]);
    home.put("b", "12", { name: "b" });
    home.put("a", "1");
    mkdirSync(join(home.directory, "no-artifact"));
    mkdirSync(join(home.directory, "directory", "artifact.tar.gz"), { recursive: true });
    expect((await local.list()).map(({ key, size }) => [key, size])).toEqual([["a", 1], ["b", 2]]);
    expect([await local.metadata("a"), await local.metadata("b")]).toEqual(["{}", '{"name":"b"}']);
  });

  it("shows nothing of an artifact before it is whole, and nothing of one given up", async () => {
    const kept = await local.create("kept");
    await kept.write(Buffer.from("by"));
    expect([await local.find("kept"), (await local.list()).length]).toEqual([undefined, 0]);
    await kept.write(Buffer.from("tes"));
    await kept.commit('{"a":1}');
    expect(home.get("kept")).toEqual({ bytes: Buffer.from("bytes"), metadata: { a: 1 } });
    const dropped = await local.create("dropped");
    await dropped.write(Buffer.from("bytes"));
    await dropped.abort();
    expect(home.names()).toEqual(["kept"]);
  });

  it("keeps the files of nip beside an artifact that is replaced", async () => {
    home.put("a", "old", {});
    writeFileSync(join(home.directory, "a", "build.log"), "");
    const incoming = await local.create("a");
    await incoming.write(Buffer.from("new"));
    await incoming.commit("[]");
    expect(home.get("a")).toEqual({ bytes: Buffer.from("new"), metadata: [] });
    expect(existsSync(join(home.directory, "a", "build.log"))).toBe(true);
  });

  it.each(["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "x".repeat(256)])("has no place for the key %j", async (key) => {
    expect(isLocalKey(key)).toBe(false);
    await expect(local.create(key)).rejects.toThrow("can't be the name of a directory");
    expect(await local.find(key)).toBeUndefined();
    expect(home.names()).toEqual([]);
  });

  it.each(["vim-9.0+python", "a b", "☃", "x".repeat(255)])("has a place for the key %j", (key) => {
    expect(isLocalKey(key)).toBe(true);
  });
});

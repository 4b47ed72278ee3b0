import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { assertOwnDirectory, type StorageIndex } from "./marker.ts";

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "marker-"))));
afterEach(() => rmSync(root, { recursive: true }));

/** @param known undefined: the index takes the first id it sees */
function indexOf(known: string | undefined, inUse = true): StorageIndex & { known: string | undefined } {
  const index = {
    known,
    id: async (candidate: string) => (index.known ??= candidate),
    inUse: async () => inUse,
  };
  return index;
}

test("a new directory is marked, and known again at the next start", async () => {
  const index = indexOf(undefined, false);
  await assertOwnDirectory("default", root, index);
  expect(readFileSync(join(root, ".stowhouse"), "utf8").trim()).toBe(index.known);
  await assertOwnDirectory("default", root, index);
});

test("a directory that was not mounted is refused, and nothing is written into it", async () => {
  const index = indexOf("11111111-aaaa");
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/storages\.default\.path.*no marker.*echo 11111111-aaaa/s);
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/no marker/);
  expect(readdirSync(root)).toEqual([]);
});

test("a first start that ended before the marker was written, or in the middle of it, is made up for", async () => {
  for (const left of [undefined, ""]) {
    if (left !== undefined) writeFileSync(join(root, ".stowhouse"), left);
    await assertOwnDirectory("default", root, indexOf("11111111-aaaa", false));
    expect(readFileSync(join(root, ".stowhouse"), "utf8")).toBe("11111111-aaaa\n");
    expect(readdirSync(root)).toEqual([".stowhouse"]);
  }
});

test("processes that start for the first time at once agree", async () => {
  const index = indexOf(undefined, false);
  await Promise.all([1, 2, 3].map(() => assertOwnDirectory("default", root, index)));
  expect(readFileSync(join(root, ".stowhouse"), "utf8").trim()).toBe(index.known);
});

test("another storage's directory is refused until its owner says that the blobs are gone", async () => {
  const index = indexOf("11111111-aaaa");
  writeFileSync(join(root, ".stowhouse"), "22222222-bbbb\n");
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/marker is another one/);
  writeFileSync(join(root, ".stowhouse"), "11111111-aaaa\n");
  await assertOwnDirectory("default", root, index);
});

test("a lost index takes the directory over", async () => {
  writeFileSync(join(root, ".stowhouse"), "22222222-bbbb\n");
  await assertOwnDirectory("default", root, indexOf(undefined));
  expect(readFileSync(join(root, ".stowhouse"), "utf8")).toBe("22222222-bbbb\n");
});

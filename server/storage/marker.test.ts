import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { assertOwnDirectory } from "./marker.ts";

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "marker-"))));
afterEach(() => rmSync(root, { recursive: true }));

test("a new directory is marked, and known again at the next start", async () => {
  let known: string | undefined;
  const index = async (candidate: string) => (known ??= candidate);
  await assertOwnDirectory("default", root, index);
  expect(readFileSync(join(root, ".stowhouse"), "utf8").trim()).toBe(known);
  await assertOwnDirectory("default", root, index);
});

test("a directory that was not mounted is refused, and nothing is written into it", async () => {
  const index = async () => "11111111-aaaa";
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/storages\.default\.path.*no marker.*echo 11111111-aaaa/s);
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/no marker/);
});

test("another storage's directory is refused until its owner says that the blobs are gone", async () => {
  const index = async () => "11111111-aaaa";
  writeFileSync(join(root, ".stowhouse"), "22222222-bbbb\n");
  await expect(assertOwnDirectory("default", root, index)).rejects.toThrow(/marker is another one/);
  writeFileSync(join(root, ".stowhouse"), "11111111-aaaa\n");
  await assertOwnDirectory("default", root, index);
});

test("a lost index takes the directory over", async () => {
  writeFileSync(join(root, ".stowhouse"), "22222222-bbbb\n");
  await assertOwnDirectory("default", root, async (candidate) => candidate);
  expect(readFileSync(join(root, ".stowhouse"), "utf8")).toBe("22222222-bbbb\n");
});

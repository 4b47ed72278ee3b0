import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, describe, expect, it } from "vitest";
import { rangeOf } from "./pieces.ts";
import { Spool } from "./spool.ts";

const home = mkdtempSync(path.join(tmpdir(), "stowhouse-spool-"));
afterAll(() => rmSync(home, { recursive: true }));

describe("the spool", () => {
  it("keeps bodies for its own user, gives back any part of them, and forgets them", async () => {
    const directory = path.join(home, "a");
    const spool = new Spool(directory, 1_000_000);
    const body = Buffer.from(Array.from({ length: 600_000 }, (_, i) => i % 251));
    const spooled = await spool.take([body.subarray(0, 1_000), body.subarray(1_000)], body.length);
    expect((await buffer(spooled.read())).equals(body)).toBe(true);
    expect((await buffer(spooled.read(299_999, 300_010))).equals(body.subarray(299_999, 300_010))).toBe(true);
    expect([spool.hasRoom(400_000), spool.hasRoom(400_001), statSync(path.join(directory, "1")).mode & 0o777]).toEqual([true, false, 0o600]);
    await spooled.drop();
    expect([spool.hasRoom(1_000_000), readdirSync(directory)]).toEqual([true, []]);
  });

  it.each([3, 5])("keeps nothing of a body that is not as long as it says (%i bytes of 4)", async (size) => {
    const directory = path.join(home, `b${size}`);
    const spool = new Spool(directory, 10);
    await expect(spool.take([Buffer.alloc(size)], 4)).rejects.toThrow("bytes of 4 arrived");
    expect([spool.hasRoom(10), readdirSync(directory)]).toEqual([true, []]);
  });
});

describe("a range of a body of 10 bytes", () => {
  it.each([
    ["bytes=0-0", { start: 0, end: 1, partial: true }], ["bytes=5-", { start: 5, end: 10, partial: true }], ["bytes=-3", { start: 7, end: 10, partial: true }],
    ["bytes=2-99", { start: 2, end: 10, partial: true }], ["bytes=10-", undefined], ["bytes=5-4", undefined], ["bytes=-0", undefined],
    [undefined, { start: 0, end: 10, partial: false }], ["bytes=0-1,3-4", { start: 0, end: 10, partial: false }], ["items=1-2", { start: 0, end: 10, partial: false }],
  ])("%s", (header, expected) => expect(rangeOf(header, 10)).toEqual(expected));
});

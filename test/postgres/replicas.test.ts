import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Core } from "../../server/core/core.ts";
import { openPostgres } from "../../server/database/postgres.ts";
import { FIXED, grant, LOOSE, putText, startCore, textOf, type TestCore } from "../fixtures/core.ts";
import { startPostgres, type Postgres } from "../fixtures/postgres.ts";

const main = grant("local:main");

/** Two servers on one database and one shared directory. */
describe("two replicas", () => {
  let postgres: Postgres;
  let folder: string;
  let one: TestCore;
  let two: TestCore;
  beforeAll(async () => {
    postgres = await startPostgres();
    folder = await mkdtemp(join(tmpdir(), "stowhouse-replicas-"));
    const replica = async () => startCore({ folder, database: await openPostgres({ url: postgres.url, maxConnections: 4 }) });
    one = await replica();
    two = await replica();
  });
  afterAll(async () => {
    await one?.close();
    await two?.close();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test("see each other's writes, overwrites and removals at once, misses included", async () => {
    for (let round = 0; round < 5; round++) {
      expect(await textOf(two, main, LOOSE, `k${round}`)).toBeUndefined();
      await putText(one, main, LOOSE, `k${round}`, "from one");
      expect(await textOf(two, main, LOOSE, `k${round}`)).toBe("from one");
      await putText(two, main, LOOSE, `k${round}`, "x".repeat(500), { overwrite: true });
      expect(await textOf(one, main, LOOSE, `k${round}`)).toBe("x".repeat(500));
      const audit = { at: 1, actor: "x", action: "remove", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" };
      expect(await one.catalog.remove(main, LOOSE, `k${round}`, "", audit)).toBe(true);
      expect(await textOf(two, main, LOOSE, `k${round}`)).toBeUndefined();
    }
  });

  test("share an upload: reserved here, sent there, committed once", async () => {
    const upload = await one.uploads.reserve(main, FIXED, "shared", "");
    await expect(two.uploads.reserve(main, FIXED, "shared", "")).rejects.toMatchObject({ code: "STOW_EXISTS" });
    await two.uploads.part(await two.uploads.get(upload.id), "b", 1, Buffer.from("y".repeat(300)));
    await one.uploads.part(upload, "a", 0, Buffer.from("x"));
    const commits = await Promise.allSettled([one, two, one, two].map((core: Core) => core.uploads.commit(main, FIXED, upload, { parts: null, size: 301 })));
    expect(commits.filter((result) => result.status === "fulfilled")).toHaveLength(1);
    for (const core of [one, two]) expect(await textOf(core, main, FIXED, "shared")).toBe(`x${"y".repeat(300)}`);
  });

  test("do the background work one at a time, and the other takes over when one has stopped", async () => {
    const { entry } = await one.bodies.put(main, FIXED, "expires", Buffer.from("x"), { expires: Date.now() + 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await one.maintenance.pass();
    expect(one.evicted).toMatchObject([{ key: "expires", reason: "expired" }]);
    const again = await two.bodies.put(main, FIXED, "expires", Buffer.from("x"), { expires: Date.now() + 1 });
    expect(again.entry.id).not.toBe(entry.id);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await two.maintenance.pass();
    expect(two.evicted).toEqual([]);
    await one.maintenance.stop();
    await two.maintenance.pass();
    expect(two.evicted).toMatchObject([{ key: "expires" }]);
    expect([one.failures, two.failures]).toEqual([[], []]);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { grant } from "../../test/fixtures/core.ts";
import type { Database } from "../database/database.ts";
import type { Entry } from "./entry.ts";
import { Journal } from "./journal.ts";

const main = grant("local:main");
const shared = (id: number) => ({ id, scope: "*", trusted: false }) as Entry;
const line = (key: string) => ({ at: 1, actor: "key:test", action: "denied", cache: "c", keyspace: "", scope: "", key, size: 0, result: "denied", address: "" });

describe("the journal", () => {
  let written: { name: string; args: never }[];
  let failing: boolean;
  let during: (name: string) => void;
  let journal: Journal;
  beforeEach(() => {
    written = [];
    failing = false;
    during = () => {};
    const write = async (name: string, args: never) => {
      during(name);
      await Promise.resolve();
      if (failing) throw new Error("the database is away");
      written.push({ name, args: structuredClone(args) as never });
    };
    journal = new Journal({ write } as unknown as Database, 3_600_000, () => {});
  });
  afterEach(() => journal.close());

  const touches = () => written.filter((one) => one.name === "touchEntries").flatMap((one) => (one.args as { touches: { id: number; at: number; trust: boolean }[] }).touches);
  const audits = () => written.filter((one) => one.name === "appendAudit").flatMap((one) => (one.args as { records: { key: string }[] }).records.map((record) => record.key));
  const stats = () => written.filter((one) => one.name === "addStats").flatMap((one) => (one.args as { rows: { name: string; value: number }[] }).rows);

  test("writes uses, lines and counts once, in batches", async () => {
    for (let i = 0; i < 1_200; i++) journal.touch(shared(i), main, i);
    for (let i = 0; i < 3; i++) journal.touch(shared(7), main, 5_000 + i);
    for (let i = 0; i < 700; i++) journal.audit(line(`k${i}`));
    journal.counter("c", "gha", "hit").value += 3;
    await journal.flush();
    expect(touches()).toHaveLength(1_200);
    expect(touches().find((one) => one.id === 7)).toEqual({ id: 7, at: 5_002, trust: true });
    expect(audits()).toHaveLength(700);
    expect(stats()).toEqual([{ cache: "c", keyspace: "gha", name: "hit", value: 3 }]);
    expect(Math.max(...written.map((one) => ((one.args as { touches?: []; records?: [] }).touches ?? (one.args as { records?: [] }).records ?? []).length))).toBeLessThanOrEqual(500);
    written = [];
    await journal.flush();
    expect(written).toEqual([]);
  });

  test("keeps everything while the database is away, and what comes meanwhile", async () => {
    failing = true;
    journal.touch(shared(1), main, 10);
    journal.audit(line("first"));
    journal.counter("c", "gha", "hit").value += 2;
    await journal.flush();
    await journal.flush();
    journal.touch(shared(1), undefined, 20);
    journal.touch(shared(2), undefined, 20);
    journal.audit(line("second"));
    journal.counter("c", "gha", "hit").value += 5;
    failing = false;
    await journal.flush();
    expect(touches().toSorted((a, b) => a.id - b.id)).toEqual([{ id: 1, at: 20, trust: true }, { id: 2, at: 20, trust: false }]);
    expect(audits()).toEqual(["first", "second"]);
    expect(stats()).toMatchObject([{ value: 7 }]);
  });

  test("loses no use, trust or count that comes while it writes", async () => {
    journal.touch(shared(1), undefined, 10);
    journal.counter("c", "gha", "hit").value = 1;
    during = (name) => {
      during = () => {};
      if (name === "touchEntries") journal.touch(shared(1), main, 99);
      journal.counter("c", "gha", "hit").value++;
      journal.audit(line("late"));
    };
    await journal.flush();
    await journal.flush();
    expect(touches().at(-1)).toEqual({ id: 1, at: 99, trust: true });
    expect(stats().reduce((sum, row) => sum + row.value, 0)).toBe(2);
    expect(audits()).toEqual(["late"]);
  });

  test("comes to an end though entries are used all the time", async () => {
    for (let i = 0; i < 600; i++) journal.touch(shared(i), main, 1);
    // As on a busy server: whatever is written down has been used again.
    during = () => {
      for (let i = 0; i < 600; i++) journal.touch(shared(i), main, 2);
      journal.audit(line("again"));
    };
    await journal.flush();
    expect(written.length).toBeLessThan(10);
    during = () => {};
  });

  test("flushes at once share their work, and closing writes the rest", async () => {
    journal.touch(shared(1), main, 1);
    await Promise.all([journal.flush(), journal.flush(), journal.flush()]);
    expect(touches()).toHaveLength(1);
    journal.touch(shared(2), main, 1);
    await journal.close();
    expect(touches()).toHaveLength(2);
  });

  test("a mapped entry, a read-only or an untrusted grant gives no trust", async () => {
    journal.touch({ ...shared(1), scope: "local:main" }, main, 1);
    journal.touch(shared(2), { ...main, write: null }, 1);
    journal.touch(shared(3), { ...main, trusted: false }, 1);
    journal.touch({ ...shared(4), trusted: true }, main, 1);
    await journal.flush();
    expect(touches().map((one) => one.trust)).toEqual([false, false, false, false]);
  });
});

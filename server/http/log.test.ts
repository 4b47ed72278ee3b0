import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Log } from "./log.ts";

describe("the log", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "stowhouse-log-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const file = () => join(folder, "log");
  const lines = (text: string) => text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);

  /** Runs with a log that writes into a file. */
  async function into(level: ConstructorParameters<typeof Log>[0], use: (log: Log) => void | Promise<void>): Promise<Record<string, unknown>[]> {
    const fd = openSync(file(), "w");
    const log = new Log(level, fd);
    await use(log);
    await log.drain();
    closeSync(fd);
    return lines(readFileSync(file(), "utf8"));
  }

  test("writes one line of JSON a message, with time, level and fields", async () => {
    const written = await into("info", (log) => {
      log.info('a "quoted"\nmessage', { count: 1, text: "two\nlines" });
      log.error("bad");
    });
    expect(written).toEqual([
      { time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/), level: "info", msg: 'a "quoted"\nmessage', count: 1, text: "two\nlines" },
      { time: expect.any(String), level: "error", msg: "bad" },
    ]);
  });

  test.each([["debug", 4], ["info", 3], ["warn", 2], ["error", 1], ["silent", 0]] as const)("at level %s writes %i of 4 levels", async (level, count) => {
    const written = await into(level, (log) => {
      log.debug("1");
      log.info("2");
      log.warn("3");
      log.error("4");
    });
    expect(written).toHaveLength(count);
  });

  test("writes the last lines too, though nobody writes any more", async () => {
    const fd = openSync(file(), "w");
    const log = new Log("info", fd);
    // Large enough to be written at once; what follows finds the writer busy.
    log.info("x".repeat(70_000));
    log.info("last");
    for (let i = 0; i < 100 && !readFileSync(file(), "utf8").includes("last"); i++) await setTimeout(10);
    expect(lines(readFileSync(file(), "utf8"))).toHaveLength(2);
    closeSync(fd);
  });

  test("a slow reader costs lines, not memory, and the loss is told", async () => {
    execFileSync("mkfifo", [file()]);
    const reader = openSync(file(), constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(file(), constants.O_WRONLY | constants.O_NONBLOCK);
    const log = new Log("info", writer);
    const line = "y".repeat(10_000);
    for (let i = 0; i < 1_000; i++) log.info(line);
    log.info("one more");
    let text = "";
    const buffer = Buffer.alloc(1 << 20);
    const read = () => {
      try {
        for (let count; (count = readSync(reader, buffer)) > 0; ) text += buffer.toString("utf8", 0, count);
      } catch {
        // Nothing there at the moment.
      }
    };
    for (let i = 0; i < 200 && !text.includes("log lines dropped"); i++) {
      read();
      await setTimeout(10);
      if (i === 20) log.info("after the reader is back");
    }
    await log.drain();
    read();
    closeSync(writer);
    closeSync(reader);
    const all = lines(text);
    const lost = all.filter((one) => one["msg"] === "log lines dropped").reduce((sum, one) => sum + (one["count"] as number), 0);
    expect(lost).toBeGreaterThan(100);
    // Every line is either there, whole, or counted as lost.
    expect(all.filter((one) => one["msg"] !== "log lines dropped").length + lost).toBe(1_002);
  });

  test("a reader that has gone away does no harm", async () => {
    execFileSync("mkfifo", [file()]);
    const reader = openSync(file(), constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(file(), constants.O_WRONLY | constants.O_NONBLOCK);
    closeSync(reader);
    const log = new Log("info", writer);
    for (let i = 0; i < 3; i++) {
      log.info("x".repeat(70_000));
      await setTimeout(5);
    }
    await log.drain();
    closeSync(writer);
  });
});

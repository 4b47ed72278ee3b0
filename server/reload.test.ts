import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { Config } from "./config.ts";
import { ConfigFiles, watchConfig } from "./reload.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "stowhouse-reload-"));
  return () => rmSync(folder, { recursive: true });
});

const file = () => join(folder, "config.yaml");
const write = (text: string) => writeFileSync(file(), text);

function start(env: Record<string, string> = {}) {
  const files = new ConfigFiles({ env: { STOWHOUSE_CONFIG: file(), ...env } });
  files.load();
  const taken: Config[] = [];
  const refused: string[] = [];
  const watcher = watchConfig(files, (config) => taken.push(config), (problem) => refused.push(problem), 20);
  onTestFinished(() => watcher.stop());
  const told = async (count: number) => {
    for (let i = 0; i < 200 && taken.length + refused.length < count; i++) await setTimeout(20);
    // Nothing is told twice.
    await setTimeout(300);
    return { taken: taken.map((config) => config.log.level), refused };
  };
  return { watcher, taken, refused, told };
}

describe("the watcher of the configuration", () => {
  test("tells a change once, and nothing where nothing has changed", async () => {
    write("log: {level: info}");
    const { told } = start();
    expect(await told(0)).toEqual({ taken: [], refused: [] });
    write("log: {level: warn}");
    expect(await told(1)).toEqual({ taken: ["warn"], refused: [] });
  });

  test("tells what is wrong once, and goes on to the next change, back to what it was", async () => {
    write("log: {level: info}");
    const { told } = start();
    write("log: {level: loud}");
    expect(await told(1)).toEqual({ taken: [], refused: [expect.stringContaining("log.level: expected one of")] });
    write("log: {level: info}");
    expect(await told(2)).toMatchObject({ taken: ["info"] });
    rmSync(file());
    expect((await told(3)).refused[1]).toContain("can't be read (ENOENT)");
  });

  test("sees a directory that is swapped by its symlink, as Kubernetes does", async () => {
    const version = (name: string, level: string) => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "config.yaml"), `log: {level: ${level}}`);
      symlinkSync(name, join(folder, "..data-next"));
      renameSync(join(folder, "..data-next"), join(folder, "..data"));
    };
    version("one", "info");
    symlinkSync("..data/config.yaml", file());
    const { told } = start();
    version("two", "warn");
    rmSync(join(folder, "one"), { recursive: true });
    expect(await told(1)).toEqual({ taken: ["warn"], refused: [] });
  });

  test("sees keys in files of their own", async () => {
    write("{}");
    const key = join(folder, "admin-key");
    writeFileSync(key, "the-first-key\n");
    const { told, taken } = start({ STOWHOUSE_ADMIN_KEY_FILE: key });
    writeFileSync(key, "the-second-key\nthe-first-key\n");
    await told(1);
    expect(taken[0]!.auth.adminKey).toBe("the-second-key\nthe-first-key");
  });

  test("waits until a file that is being written stays the same", async () => {
    write("log: {level: info}");
    const { told, taken } = start();
    for (let i = 0; i < 20; i++) {
      write(`log: {level: ${i % 2 ? "warn" : "error"}} # ${i}`);
      await setTimeout(25);
    }
    expect(taken.length).toBeLessThan(10);
    write("log: {level: debug}");
    expect((await told(1)).taken.at(-1)).toBe("debug");
  });

  test("loads at once when it is told to", async () => {
    write("log: {level: info}");
    const { watcher, told } = start();
    watcher.now();
    expect(await told(1)).toEqual({ taken: ["info"], refused: [] });
  });
});

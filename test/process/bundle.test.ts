import { execFile, spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

/**
 * What the image holds, without a container: the bundle and package.json, no node_modules, nothing writable but the data
 * directory. As root it runs under the image's user; elsewhere under one's own.
 */
const root = path.resolve(import.meta.dirname, "../..");
const USER = process.getuid?.() === 0 ? 10001 : undefined;

let image: string;
let server: ChildProcessByStdio<null, Readable, null> | undefined;
let output = "";

beforeAll(async () => {
  await promisify(execFile)("npm", ["run", "build"], { cwd: root, timeout: 60_000 });
  image = await mkdtemp(path.join(tmpdir(), "stowhouse-image-"));
  await mkdir(path.join(image, "app/build"), { recursive: true });
  await mkdir(path.join(image, "data"));
  await copyFile(process.execPath, path.join(image, "node"));
  await copyFile(path.join(root, "package.json"), path.join(image, "app/package.json"));
  for (const name of await readdir(path.join(root, "build"))) await copyFile(path.join(root, "build", name), path.join(image, "app/build", name));
  if (USER !== undefined) await chown(path.join(image, "data"), USER, USER);
  for (const name of ["app/build", "app", "."]) await chmod(path.join(image, name), 0o555);
}, 120_000);

afterAll(async () => {
  server?.kill("SIGKILL");
  for (const name of [".", "app", "app/build"]) await chmod(path.join(image, name), 0o755);
  await rm(image, { recursive: true, force: true });
});

test.each([1, 2])("the bundle serves with %i processes, without node_modules, from a directory nobody can write, and stops on SIGTERM", async (processes) => {
  const config = path.join(image, "data/config.json");
  await writeFile(config, JSON.stringify({ processes }));
  output = "";
  server = spawn(path.join(image, "node"), ["../app/build/server.mjs", "serve"], {
    cwd: path.join(image, "data"),
    env: { STOWHOUSE_LISTEN: "127.0.0.1:0", STOWHOUSE_DATA: path.join(image, "data"), STOWHOUSE_CONFIG: config, TMPDIR: path.join(image, "app"), HOME: "/nonexistent" },
    stdio: ["ignore", "pipe", "inherit"],
    ...(USER === undefined ? {} : { uid: USER, gid: USER }),
  });
  server.stdout.on("data", (data: Buffer) => (output += data));
  const url = await expect.poll(() => /serves (http:\S+)/.exec(output)?.[1], { timeout: 20_000 }).toBeTruthy().then(() => /serves (http:\S+)/.exec(output)![1]!);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  // The database answers, so the worker was found beside the bundle.
  expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject({ status: "ok", database: "ok" });
  const ended = once(server, "exit");
  server.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});

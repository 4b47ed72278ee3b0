import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../fixtures/tools.ts";
import { actionlint, checkJsonschema } from "./tools.ts";

const root = path.resolve(import.meta.dirname, "../..");
const FILES = ["action.yml", "action/restore/action.yml", "action/save/action.yml", "action/cache/action.yml"];

let home: string;

beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-metadata-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

test("the action.yml files are what GitHub's schema asks for", async () => {
  const [command, ...args] = await checkJsonschema();
  await run(command, [...args, "--builtin-schema", "vendor.github-actions", ...FILES], { cwd: root });
});

test("the workflows in the documents use inputs and outputs that are there", async () => {
  mkdirSync(path.join(home, ".git"));
  mkdirSync(path.join(home, ".github/workflows"), { recursive: true });
  for (const file of FILES) cpSync(path.join(root, file), path.join(home, file));
  // actionlint looks at what actions start.
  cpSync(path.join(root, "dist"), path.join(home, "dist"), { recursive: true });
  const blocks = ["README.md", "action/README.md"].flatMap((name) => [...readFileSync(path.join(root, name), "utf8").matchAll(/```yaml\n(.*?)```/gs)]).map(([, text]) => text!).filter((text) => text.includes("uses:"));
  expect(blocks.length).toBeGreaterThanOrEqual(3);
  const local = (text: string) => text.replaceAll(/stowhouse\/stowhouse(\/action\/\w+)?@v1/g, (_, below: string | undefined) => `.${below ?? "/"}`);
  for (const [number, text] of blocks.entries()) {
    const whole = text.startsWith("name:") ? text : `on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n${text}`;
    writeFileSync(path.join(home, `.github/workflows/${number}.yml`), local(whole));
  }
  const lint = async () => run(await actionlint(), ["-no-color", "-shellcheck=", "-pyflakes="], { cwd: home });
  await lint();
  // What it is meant to find, it finds.
  for (const [right, wrong] of [["server:", "servers:"], ["steps.cache.outputs.buildkit-cache-to", "steps.cache.outputs.buildkit-to"], ["key: pip-", "cache-key: pip-"]] as const) {
    const number = blocks.findIndex((text) => text.includes(right));
    const file = path.join(home, `.github/workflows/${number}.yml`);
    const good = readFileSync(file, "utf8");
    writeFileSync(file, good.replace(right, wrong));
    await expect(lint(), wrong).rejects.toMatchObject({ stdout: expect.stringMatching(/not defined/) });
    writeFileSync(file, good);
  }
});

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Metafile } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildAction } from "../../action/build.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const KB = 1024;

let outdir: string;
let meta: Metafile;

beforeAll(async () => {
  outdir = mkdtempSync(path.join(tmpdir(), "stowhouse-dist-"));
  meta = await buildAction(path.join(outdir, "dist"));
});
afterAll(() => rmSync(outdir, { recursive: true, force: true }));

function contents(directory: string): Record<string, string> {
  return Object.fromEntries(readdirSync(directory).toSorted().map((name) => [name, readFileSync(path.join(directory, name), "latin1")]));
}

test("what is committed is what the sources give", () => {
  const [built, committed] = [contents(path.join(outdir, "dist")), contents(path.join(root, "dist"))];
  expect(Object.keys(committed), "run npm run build:action").toEqual(Object.keys(built));
  for (const [name, text] of Object.entries(built)) expect(committed[name] === text, `${name} is stale: run npm run build:action`).toBe(true);
});

/** A file and all it imports, of its own accord or when asked to. */
function reached(name: string, kinds: readonly string[], skip: RegExp = /$^/): string[] {
  const seen = new Set<string>();
  const visit = (file: string) => {
    const output = meta.outputs[file];
    if (!output || seen.has(file) || Object.keys(output.inputs).some((input) => skip.test(input))) return;
    seen.add(file);
    for (const { path: to, kind } of output.imports) if (kinds.includes(kind)) visit(to);
  };
  visit(Object.keys(meta.outputs).find((file) => file.endsWith(`/${name}`))!);
  return [...seen];
}

const size = (files: readonly string[]) => files.reduce((sum, file) => sum + meta.outputs[file]!.bytes, 0);

test("setting up loads at most 250 KB, and GitHub's cache only where it is needed", () => {
  const all = reached("main.mjs", ["import-statement", "dynamic-import"], /node_modules\/@actions\/cache\//);
  expect(size(all)).toBeLessThanOrEqual(250 * KB);
  const atOnce = reached("main.mjs", ["import-statement"]).flatMap((file) => Object.keys(meta.outputs[file]!.inputs));
  expect(atOnce.filter((input) => /@actions\/(cache|glob)\/|@azure\//.test(input))).toEqual([]);
});

test("nothing of the server is in it but what protocols say to clients", () => {
  const inputs = Object.keys(meta.inputs).filter((input) => input.startsWith("server/"));
  const words = /^server\/(protocols\/(client|wire|[^/]+\/(client|wire))|core\/(errors|entry|grant|scope))\.ts$/;
  expect(inputs.filter((input) => !words.test(input))).toEqual([]);
});

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Env } from "../toolkit.ts";
import { nix, run, type RunOptions } from "./command.ts";

/** A path of the store; names without its directory. */
export interface StorePath {
  readonly name: string;
  readonly narHash: string;
  readonly narSize: number;
  readonly references: readonly string[];
  readonly deriver: string | undefined;
  readonly signatures: readonly string[];
  readonly ca: string | undefined;
  /** Built here, and not taken from anybody. */
  readonly ultimate: boolean;
  /** When it became valid, s. */
  readonly registered: number;
}

const NAME = /^[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+\-._?=]{1,211}$/;
/** Nix's own helpers, and what says how to build rather than what was built. */
const ASIDE = /\.(drv|lock|check|chroot)$/;
/** Names in one command. */
const BATCH = 500;
/** The store counts seconds, file systems may too. ms */
const COARSE = 2_000;
/** A job that builds more pushes the first of them. */
const MOST = 20_000;

export function storeDir(env: Env): string {
  return env["NIX_STORE_DIR"] || "/nix/store";
}

/**
 * What this machine has built since then, and what it needs that nobody has signed, which is therefore nowhere else; each after
 * its references. The store itself knows, with nix-daemon and without: no hook, and no list from before the job.
 * @param since ms @throws Error when the store can't be asked
 */
export async function builtSince(env: Env, since: number, options: RunOptions): Promise<StorePath[]> {
  const store = storeDir(env);
  const from = since - COARSE;
  const names = readdirSync(store).filter((name) => NAME.test(name) && !ASIDE.test(name) && (lstatSync(join(store, name), { throwIfNoEntry: false })?.ctimeMs ?? 0) >= from).slice(0, MOST);
  const invalid = new Set((await inBatches(names, (batch) => run(env, "nix-store", ["--check-validity", "--print-invalid", ...batch.map((name) => join(store, name))], options))).flatMap((text) => text.split("\n")));
  // Later versions want to be told which form; earlier ones know but one.
  const pathInfo = (args: readonly string[]) => nix(env, ["path-info", "--json", ...args], options).catch(() => nix(env, ["path-info", "--json", "--json-format", "2", ...args], options));
  const infos = (chosen: readonly string[], more: readonly string[]) => inBatches(chosen, (batch) => pathInfo([...more, ...batch.map((name) => join(store, name))]));
  const fresh = (await infos(names.filter((name) => !invalid.has(join(store, name))), [])).flatMap(parsePathInfos);
  const built = fresh.filter(({ ultimate, registered }) => ultimate && registered * 1000 >= from);
  const needed = (await infos(built.map(({ name }) => name), ["--recursive"])).flatMap(parsePathInfos);
  return inOrder(needed.filter(({ ultimate, signatures }) => ultimate || signatures.length === 0));
}

async function inBatches(names: readonly string[], ask: (batch: readonly string[]) => Promise<string>): Promise<string[]> {
  const answers: string[] = [];
  for (let at = 0; at < names.length; at += BATCH) answers.push(await ask(names.slice(at, at + BATCH)));
  return answers;
}

type Json = Readonly<Record<string, unknown>>;

/** `nix path-info --json`: a list (to 2.18), an object by path, or that one below `info` (format 2); unknown fields are left out. @throws SyntaxError */
export function parsePathInfos(text: string): StorePath[] {
  const json = JSON.parse(text) as unknown;
  const byPath = Array.isArray(json) ? json.map((one): [string, unknown] => [word(record(one)?.["path"]), one]) : Object.entries(record(record(json)?.["info"]) ?? record(json) ?? {});
  return byPath.flatMap(([path, value]) => {
    const info = record(value);
    const name = baseName(path);
    if (!info || !NAME.test(name)) return [];
    return [{
      name, narHash: word(info["narHash"]), narSize: Number(info["narSize"]) || 0, references: words(info["references"]).map(baseName).toSorted(), deriver: baseName(word(info["deriver"])) || undefined,
      signatures: words(info["signatures"]), ca: word(info["ca"]) || undefined, ultimate: info["ultimate"] === true, registered: Number(info["registrationTime"]) || 0,
    }];
  });
}

const record = (value: unknown): Json | undefined => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined);
const word = (value: unknown): string => (typeof value === "string" ? value : "");
const words = (value: unknown): string[] => (Array.isArray(value) ? value.filter((one) => typeof one === "string") : []);
const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** Each path once, and after those of the list that it refers to. */
export function inOrder(paths: readonly StorePath[]): StorePath[] {
  const waiting = new Map(paths.map((path) => [path.name, path]));
  const ordered: StorePath[] = [];
  for (const first of paths) {
    const stack = [first];
    while (stack.length > 0) {
      const path = stack.at(-1)!;
      // References form no circles, but for a path's own name.
      const next = path.references.find((name) => name !== path.name && waiting.has(name));
      if (waiting.has(path.name) && next !== undefined && !stack.some(({ name }) => name === next)) stack.push(waiting.get(next)!);
      else {
        stack.pop();
        if (waiting.delete(path.name)) ordered.push(path);
      }
    }
  }
  return ordered;
}

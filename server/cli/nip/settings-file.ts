import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { errors } from "../../core/errors.ts";

export const POLICIES = {
  uploadOnBuild: true,
  downloadBeforeBuild: true,
  fallbackToLocal: true,
  /** How often a transfer that broke is tried again. */
  retryAttempts: 3,
  /** Seconds before each of these. */
  retryDelay: 5,
} as const;
export type Policies = { -readonly [Name in keyof typeof POLICIES]: (typeof POLICIES)[Name] extends boolean ? boolean : number };

/** nip's remote-cache.json. Fields we don't know are left as they are. */
export interface SettingsFile {
  url?: string;
  apiKey?: string;
  /** Seconds. */
  timeout?: number;
  enabled?: boolean;
  servers?: { url: string; priority?: number; apiKey?: string; enabled?: boolean }[];
  policies?: Partial<Policies>;
  /** Ours: where artifacts are kept on this machine. */
  localDirectory?: string;
}

export function settingsPath(home: string): string {
  return join(home, ".config", "nip", "remote-cache.json");
}

/** The file's content; empty when there is none. @throws config for one that is not as it should be, saying where */
export function readSettingsFile(path: string): SettingsFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw errors.config(`${path} can't be read (${(error as Error).message})`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw errors.config(`${path} is not JSON (${(error as Error).message})`);
  }
  const wrong = checkSettings(value);
  if (wrong !== undefined) throw errors.config(`${path}: ${wrong}`);
  return value as SettingsFile;
}

/** Replaces the file as a whole, for its owner's eyes only: it holds a key. */
export function writeSettingsFile(path: string, settings: SettingsFile): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(temporary, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o600, flag: "wx" });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

type Check = (value: unknown) => string | undefined;

const text: Check = (value) => (typeof value === "string" ? undefined : "expected text");
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "expected true or false");
const number = (least: number, most: number): Check => (value) => (typeof value === "number" && value >= least && value <= most ? undefined : `expected a number from ${least} to ${most}`);

/** What is wrong with a server's URL, if anything. An empty one is nip's way to say none. */
export const checkUrl: Check = (value) => {
  const parsed = typeof value === "string" ? URL.parse(value) : null;
  if (value === "" || (parsed && /^https?:$/.test(parsed.protocol) && !parsed.username && !parsed.password && !parsed.search && !parsed.hash)) return undefined;
  return "expected a URL like https://cache.example.com";
};

const fields = (known: Readonly<Record<string, Check>>): Check => (value) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "expected an object";
  for (const [name, check] of Object.entries(known)) {
    const given = (value as Record<string, unknown>)[name];
    const wrong = given === undefined ? undefined : check(given);
    if (wrong !== undefined) return `${name}: ${wrong}`;
  }
  return undefined;
};

const list = (check: Check): Check => (value) => {
  if (!Array.isArray(value)) return "expected a list";
  for (const [index, item] of value.entries()) {
    const wrong = check(item);
    if (wrong !== undefined) return `[${index}]: ${wrong}`;
  }
  return undefined;
};

const POLICY_CHECKS = { uploadOnBuild: flag, downloadBeforeBuild: flag, fallbackToLocal: flag, retryAttempts: number(0, 100), retryDelay: number(0, 3600) };
const server: Check = (value) =>
  fields({ url: checkUrl, priority: number(-1_000_000, 1_000_000), apiKey: text, enabled: flag })(value) ?? ((value as { url?: unknown }).url ? undefined : "url: expected a URL");

/** What is wrong with a settings file's content, with the field's path; undefined when nothing is. */
export const checkSettings: Check = fields({
  url: checkUrl, apiKey: text, timeout: number(1, 86_400), enabled: flag, servers: list(server), policies: fields(POLICY_CHECKS), localDirectory: text,
});

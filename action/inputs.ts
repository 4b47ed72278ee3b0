import { Failure } from "./failure.ts";

/** An input that can't be meant. */
export class InputError extends Failure {}

export const AUTHS = ["auto", "oidc", "key", "runtime-token", "anonymous"] as const;
export type Auth = (typeof AUTHS)[number];
export const MODES = ["auto", "read", "write", "write-only", "off"] as const;
/** `write` reads as well. */
export type ModeInput = (typeof MODES)[number];
export const TOOLS = ["gha", "sccache", "docker", "nip", "go", "nix"] as const;
export type ToolName = (typeof TOOLS)[number];

/** Who is asked, and with what. */
export interface ServerInputs {
  /** By priority; none: nothing is cached. */
  readonly servers: readonly string[];
  readonly auth: Auth;
  /** Default: the origin of each server. */
  readonly audience: string | undefined;
  readonly key: string | undefined;
  readonly readKey: string | undefined;
  readonly mode: ModeInput;
}

/** What is restored and saved, as actions/cache takes it. */
export interface ArchiveInputs {
  readonly paths: readonly string[];
  readonly key: string;
  readonly restoreKeys: readonly string[];
  readonly crossOs: boolean;
  readonly lookupOnly: boolean;
  readonly failOnMiss: boolean;
}

/** How archives travel. */
export interface TransferInputs {
  /** For the whole of a restore or a save, ms. */
  readonly timeout: number;
  readonly concurrency: number | undefined;
  readonly fallback: "github" | "none";
  readonly failOnError: boolean;
}

export interface SetupInputs extends ServerInputs, TransferInputs {
  readonly tools: "auto" | readonly ToolName[];
  readonly daemon: boolean;
  /** Where the daemon listens: an address without a port. */
  readonly listen: string | undefined;
  readonly intercept: boolean;
  readonly archive: ArchiveInputs | undefined;
  readonly saveOnFailure: boolean;
  readonly jobStatus: string;
  readonly summary: "always" | "on-failure" | "never";
  readonly metricsUrl: string | undefined;
}

type Get = (name: string) => string;

/** The inputs of the set-up action. @throws InputError */
export function setupInputs(get: Get): SetupInputs {
  const paths = lines(get("path"));
  const cacheKey = get("cache-key");
  if ((paths.length > 0) !== (cacheKey !== "")) throw new InputError("path and cache-key: expected both or neither");
  const tools = get("tools").split(/[\s,]+/).filter(Boolean);
  return {
    ...serverInputs(get, "key"), ...transferInputs(get),
    tools: tools.length === 0 || tools.includes("auto") ? "auto" : tools.filter((name) => name !== "none").map((name) => oneOf("tools", name, TOOLS)),
    daemon: onOff(get, "daemon", true),
    listen: text(get("daemon-listen")),
    intercept: onOff(get, "intercept-actions-cache", false),
    archive: cacheKey === "" ? undefined : archiveInputs(get, cacheKey),
    saveOnFailure: onOff(get, "save-on-failure", false),
    jobStatus: get("job-status"),
    summary: oneOf("summary", get("summary") || "always", ["always", "on-failure", "never"]),
    metricsUrl: text(get("metrics-url")) && httpUrl("metrics-url", get("metrics-url")),
  };
}

/** Who is asked. @param keyName the input with the API key: beside actions/cache's `key` it needs another name @throws InputError */
export function serverInputs(get: Get, keyName: "key" | "api-key"): ServerInputs {
  return {
    servers: get("server").split(/[\s,]+/).filter(Boolean).map((url) => httpUrl("server", url)),
    auth: oneOf("auth", get("auth") || "auto", AUTHS),
    audience: text(get("audience")),
    key: text(get(keyName)),
    readKey: text(get("read-key")),
    mode: oneOf("mode", get("mode") || "auto", MODES),
  };
}

/** @throws InputError */
export function transferInputs(get: Get): TransferInputs {
  return {
    timeout: duration("timeout", get("timeout") || "10m"),
    concurrency: text(get("concurrency")) === undefined ? undefined : count("concurrency", get("concurrency"), 64),
    fallback: oneOf("fallback", get("fallback") || "github", ["github", "none"]),
    failOnError: onOff(get, "fail-on-error", false),
  };
}

/** The inputs of actions/cache, read as leniently as it does. @throws InputError */
export function archiveInputs(get: Get, key: string): ArchiveInputs {
  const paths = lines(get("path"));
  if (paths.length === 0) throw new InputError("Input required and not supplied: path");
  if (key === "") throw new InputError("Input required and not supplied: key");
  const restoreKeys = lines(get("restore-keys"));
  if (restoreKeys.length > 9) throw new InputError("Key Validation Error: Keys are limited to a maximum of 10.");
  for (const one of [key, ...restoreKeys]) {
    if (one.length > 512) throw new InputError(`Key Validation Error: ${one} cannot be larger than 512 characters.`);
    if (one.includes(",")) throw new InputError(`Key Validation Error: ${one} cannot contain commas.`);
  }
  const yes = (name: string) => get(name).toLowerCase() === "true";
  return { paths, key, restoreKeys, crossOs: yes("enableCrossOsArchive"), lookupOnly: yes("lookup-only"), failOnMiss: yes("fail-on-cache-miss") };
}

const text = (value: string): string | undefined => (value.trim() === "" ? undefined : value.trim());

function lines(value: string): string[] {
  return value.split("\n").map((line) => line.replace(/^!\s+/, "!").trim()).filter(Boolean);
}

function onOff(get: Get, name: string, otherwise: boolean): boolean {
  const value = get(name).trim().toLowerCase();
  if (value === "") return otherwise;
  if (["on", "true"].includes(value)) return true;
  if (["off", "false"].includes(value)) return false;
  throw new InputError(`${name}: expected on or off, not ${JSON.stringify(value)}`);
}

function oneOf<const T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value.trim().toLowerCase());
  if (found === undefined) throw new InputError(`${name}: expected ${allowed.slice(0, -1).join(", ")} or ${allowed.at(-1)}, not ${JSON.stringify(value)}`);
  return found;
}

/** A URL without what does not belong into one, and without a slash at its end. */
function httpUrl(name: string, value: string): string {
  const url = URL.parse(value.trim());
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:")) throw new InputError(`${name}: expected a URL like https://cache.example.com, not ${JSON.stringify(value)}`);
  if (url.username || url.password) throw new InputError(`${name}: expected a URL without credentials; give an API key as a secret instead`);
  if (url.search || url.hash) throw new InputError(`${name}: expected a URL without query and fragment`);
  return (url.origin + url.pathname).replace(/\/+$/, "");
}

function count(name: string, value: string, max: number): number {
  const number = Number(value.trim());
  if (!Number.isInteger(number) || number < 1 || number > max) throw new InputError(`${name}: expected a number from 1 to ${max}, not ${JSON.stringify(value)}`);
  return number;
}

const UNITS: Readonly<Record<string, number>> = { "": 1000, s: 1000, m: 60_000, h: 3_600_000 };
const LONGEST = 6 * 3_600_000;

/** @returns ms */
function duration(name: string, value: string): number {
  const [, number, unit] = /^(\d{1,6})\s*([smh]?)$/.exec(value.trim()) ?? [];
  const ms = number === undefined ? 0 : Number(number) * UNITS[unit!]!;
  if (ms < 1000 || ms > LONGEST) throw new InputError(`${name}: expected a time like 90s or 10m, at most 6h, not ${JSON.stringify(value)}`);
  return ms;
}

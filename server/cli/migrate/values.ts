import { isIP } from "node:net";
import { ADDRESS, NAME } from "../../config/kinds.ts";
import { formatDuration, formatSize } from "../../config/units.ts";
import { parsePublicKey } from "../../protocols/nix/keys.ts";
import { WireError } from "../../protocols/wire.ts";
import { Misfit } from "./draft.ts";

/** Longest duration of ours that stands for "for ever". */
export const FOR_EVER = "3650d";
/** Largest quota: no limit but the disk's. */
export const UNLIMITED = "1PiB";

export function text(value: unknown): string {
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  if (typeof value === "number") return String(value);
  throw new Misfit("expected text");
}

export function flag(value: unknown): boolean {
  if (value === true || value === "true" || value === "1") return true;
  if (value === false || value === "false" || value === "0") return false;
  throw new Misfit("expected true or false");
}

/** A list, or text with commas as a variable or an option of a command has it. */
export function list(value: unknown): string[] {
  const items = Array.isArray(value) ? value : text(value).split(",");
  return items.map(text);
}

/** A public key as Nix writes it: one that is none would keep the server from starting. */
export function publicKey(given: string): string {
  try {
    return parsePublicKey(given).text;
  } catch (error) {
    throw error instanceof WireError ? new Misfit(`"${given.slice(0, 80)}": ${error.message}`) : error;
  }
}

export function whole(value: unknown, least: number, largest: number): number {
  const number = typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= least && number <= largest) return number;
  throw new Misfit(`expected a whole number from ${least} to ${largest}`);
}

const GO_UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, µs: 0.001, ns: 0.000_001 };

/** A duration as Go writes it (`1m30s`, `1.5s`), in our words. @param least @param largest ms */
export function goDuration(value: unknown, least: number, largest: number): string {
  const given = text(value);
  if (!/^(?:\d{1,12}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+$/.test(given)) throw new Misfit(`"${given}" is no duration like 3s`);
  let total = 0;
  for (const [, number, unit] of given.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) total += Number(number) * GO_UNITS[unit!]!;
  const fitting = Math.min(Math.max(Math.round(total), least), largest);
  return formatDuration(fitting);
}

/** ncps's sizes: powers of 1024, named B, K, M, G or T. */
export function ncpsSize(value: unknown): string {
  const [, number, unit = ""] = /^(\d{1,12})([BKMGT]?)$/i.exec(text(value)) ?? [];
  if (number === undefined) throw new Misfit("expected a size like 100G");
  const bytes = Number(number) * 1024 ** Math.max(0, "BKMGT".indexOf(unit.toUpperCase()));
  if (bytes < 1024 || bytes > 2 ** 50) throw new Misfit("expected a size from 1K to 1024T");
  return formatSize(bytes);
}

/** `host:port`; without a host, of all addresses. */
export function address(host: string, port: unknown): string {
  const bare = host.replace(/^\[|\]$/g, "") || "0.0.0.0";
  const joined = `${isIP(bare) === 6 ? `[${bare}]` : bare}:${whole(port, 1, 65_535)}`;
  if (ADDRESS.parse(joined) === undefined) throw new Misfit("expected a host name or an address");
  return joined;
}

/** A name by our rules that is like theirs. */
export function nameLike(theirs: string): string {
  const name = theirs.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
  if (NAME.parse(name) === undefined) throw new Misfit(`"${theirs}" can't be made a name of a-z, 0-9 and -`);
  return name;
}

/** The first of a name's variants (`x`, `x-2`, …) that is free. */
export function freeName(wanted: string, taken: (name: string) => boolean): string {
  let name = wanted;
  for (let serial = 2; taken(name); serial++) name = `${wanted.slice(0, 58)}-${serial}`;
  return name;
}

import { createHash } from "node:crypto";
import { toNix32 } from "./nix32.ts";
import { parseHash } from "./hash.ts";

/** Digits of the hash that begins a store path's name. */
export const STORE_HASH = "[0-9a-df-np-sv-z]{32}";
const NAME = "[0-9a-zA-Z+\\-._?=]{1,211}";
const BASE_NAME = new RegExp(`^(${STORE_HASH})-(${NAME})$`);
const OUTPUT_NAME = new RegExp(`^${NAME}$`);

/** `<32 digits>-<name>`, what a store path is called below the store directory. */
export interface BaseName {
  readonly hash: string;
  readonly name: string;
}

export function parseBaseName(text: string): BaseName | undefined {
  const match = BASE_NAME.exec(text);
  return match && match[2] !== "." && match[2] !== ".." ? { hash: match[1]!, name: match[2]! } : undefined;
}

export function isOutputName(text: string): boolean {
  return OUTPUT_NAME.test(text) && text !== "." && text !== "..";
}

/** What a content address needs of the path it belongs to. */
export interface Addressed {
  readonly storeDir: string;
  /** Base name of the path. */
  readonly storePath: string;
  /** Base names. */
  readonly references: readonly string[];
}

const CONTENT_ADDRESS = /^(text|fixed):(r:|git:)?([a-z0-9]{3,6}:[0-9a-zA-Z+/=]{1,128})$/;

export function isContentAddress(ca: string): boolean {
  const [, kind, method, hash = ""] = CONTENT_ADDRESS.exec(ca) ?? [];
  return kind !== undefined && parseHash(hash) !== undefined && (kind === "fixed" || (method === undefined && hash.startsWith("sha256:")));
}

/**
 * Whether a content address gives this very path its name: clients take such paths without a signature, so a forged address
 * must not pass (nix.md §2.2). Undefined for addresses whose rule is not known here (git trees).
 */
export function addresses(ca: string, path: Addressed): boolean | undefined {
  const [, kind, method, text = ""] = CONTENT_ADDRESS.exec(ca) ?? [];
  const hash = parseHash(text);
  if (kind === undefined || !hash) return false;
  if (method === "git:") return undefined;
  const self = path.references.includes(path.storePath);
  const others = path.references.filter((reference) => reference !== path.storePath).toSorted().map((reference) => `:${path.storeDir}/${reference}`).join("");
  const hex = hash.bytes.toString("hex");
  if (kind === "text") return !self && hash.algorithm === "sha256" && named(path, `text${others}`, hex);
  if (method === "r:" && hash.algorithm === "sha256") return named(path, `source${others}${self ? ":self" : ""}`, hex);
  if (path.references.length > 0) return false;
  const inner = createHash("sha256").update(`fixed:out:${method ?? ""}${hash.algorithm}:${hex}:`).digest("hex");
  return named(path, "output:out", inner);
}

/** Whether the path has the name Nix makes of a type and an inner SHA-256: 160 bits, folded out of 256. */
function named({ storeDir, storePath }: Addressed, type: string, inner: string): boolean {
  const { hash, name } = parseBaseName(storePath) ?? { hash: "", name: "" };
  const digest = createHash("sha256").update(`${type}:sha256:${inner}:${storeDir}:${name}`).digest();
  const folded = Buffer.alloc(20);
  for (const [i, byte] of digest.entries()) folded[i % 20]! ^= byte;
  return toNix32(folded) === hash;
}

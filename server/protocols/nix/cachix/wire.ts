import { WireError } from "../../wire.ts";
import { fromBase64, parseHash, parseSha256 } from "../hash.ts";
import { parsePublicKey, PublicKey } from "../keys.ts";
import { narUrl } from "../nar-url.ts";
import type { NarInfo } from "../narinfo.ts";
import { parseBaseName, STORE_HASH } from "../store-path.ts";

/** The Cachix API as its client speaks it (nix.md §3); a cache's paths lie below this one. */
export const API = "/api/v1/cache/:cache(^[a-z0-9][a-z0-9-]{0,62})";

/** Hashes in one question for what is missing. */
export const MAX_HASHES = 32_768;
/** Part numbers, as S3 has them. */
export const MAX_PARTS = 10_000;

/** What its query calls compressions, and what narinfos call them. */
const COMPRESSIONS: Readonly<Record<string, Compression>> = { zst: "zstd", xz: "xz" };
export type Compression = "zstd" | "xz";

/** What a client says of a path it has sent (`narInfoCreate`). Hashes are hex, paths are base names. */
export interface Created {
  readonly storePath: string;
  readonly narHash: string;
  readonly narSize: number;
  readonly fileHash: string;
  readonly fileSize: number;
  readonly references: readonly string[];
  readonly deriver: string | undefined;
  /** Base64 of 64 bytes, without the name of its key. */
  readonly signature: string | undefined;
}

export interface Completion {
  /** In order; null for all that were sent. */
  readonly parts: readonly { readonly number: number; readonly md5: string }[] | null;
  readonly created: Created;
}

type Fields = Readonly<Record<string, unknown>>;

/** Clients older than the parameter send xz. @throws WireError */
export function parseCompression(text: unknown): Compression {
  if (text === undefined) return "xz";
  return (typeof text === "string" && Object.hasOwn(COMPRESSIONS, text) && COMPRESSIONS[text]) || fail("compression is neither zst nor xz");
}

const HASH = new RegExp(`^${STORE_HASH}$`);

/** A question for what is missing. @throws WireError */
export function parseHashes(value: unknown): string[] {
  if (!Array.isArray(value) || value.length > MAX_HASHES) return fail(`the body is no list of at most ${MAX_HASHES} hashes`);
  if (!value.every((hash) => typeof hash === "string" && HASH.test(hash))) return fail("a hash has not the 32 digits of a store path's");
  return value as string[];
}

/** A part's MD5 as hex, of `{"contentMD5":"<base64>"}`. @throws WireError */
export function parseSigningData(value: unknown): string {
  const { contentMD5 } = fieldsOf(value);
  return md5Of(contentMD5) ?? fail("contentMD5 is no MD5 in base64");
}

/** Hex of an MD5 in base64; undefined for what is none. */
export function md5Of(text: unknown): string | undefined {
  return typeof text === "string" ? fromBase64(text, 16)?.toString("hex") : undefined;
}

/** @throws WireError */
export function parsePartNumber(value: unknown): number {
  const number = typeof value === "number" ? value : typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : 0;
  return Number.isInteger(number) && number >= 1 && number <= MAX_PARTS ? number : fail(`partNumber is none from 1 to ${MAX_PARTS}`);
}

/** The body of `complete`. @throws WireError */
export function parseCompletion(value: unknown): Completion {
  const { parts, narInfoCreate } = fieldsOf(value);
  return { parts: parts === null || parts === undefined ? null : partsOf(parts), created: parseCreated(narInfoCreate) };
}

function partsOf(value: unknown): { number: number; md5: string }[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_PARTS) return fail(`parts is no list of 1 to ${MAX_PARTS}`);
  const parts = value.map((part) => {
    const { partNumber, eTag } = fieldsOf(part);
    const [, md5] = typeof eTag === "string" ? (/^"?([0-9a-f]{32})"?$/.exec(eTag) ?? []) : [];
    return { number: parsePartNumber(partNumber), md5: md5 ?? fail("an eTag is none that was given out") };
  });
  if (parts.some(({ number }, i) => i > 0 && number <= parts[i - 1]!.number)) fail("parts are not in the order of their numbers");
  return parts;
}

/** `narInfoCreate`, as the official client and others write it (nix.md §3.6). @throws WireError */
export function parseCreated(value: unknown): Created {
  const { cStoreHash, cStoreSuffix, cNarHash, cNarSize, cFileHash, cFileSize, cReferences, cDeriver, cSig } = fieldsOf(value);
  const storePath = `${text("cStoreHash", cStoreHash)}-${text("cStoreSuffix", cStoreSuffix).replace(/^-/, "")}`;
  if (!Array.isArray(cReferences)) return fail("cReferences is no list");
  const file = text("cFileHash", cFileHash);
  const deriver = cDeriver === null || cDeriver === undefined || cDeriver === "" || cDeriver === "unknown-deriver" ? undefined : text("cDeriver", cDeriver);
  const signature = cSig === null || cSig === undefined ? undefined : text("cSig", cSig);
  if (signature !== undefined && !fromBase64(signature, 64)) fail("cSig is no signature in base64");
  return {
    storePath: baseName("cStoreHash and cStoreSuffix", storePath),
    narHash: parseSha256(text("cNarHash", cNarHash)) ?? fail("cNarHash is no SHA-256"),
    narSize: size("cNarSize", cNarSize),
    fileHash: parseSha256(parseHash(file) ? file : `sha256:${file}`) ?? fail("cFileHash is no SHA-256"),
    fileSize: size("cFileSize", cFileSize),
    references: [...new Set(cReferences.map((name) => baseName("cReferences", name)))].toSorted(),
    deriver: deriver === undefined ? undefined : baseName("cDeriver", deriver),
    signature,
  };
}

/** The narinfo that says the same. @param signatures `name:base64` */
export function narInfoOf(created: Created, compression: string, signatures: readonly string[]): NarInfo {
  const { signature: _, ...same } = created;
  return { ...same, url: narUrl(created.fileHash, compression), compression, signatures };
}

/**
 * A key to register: `{"publicKey":"<base64>"}` has no name and gets one made of it, `{"publicSigningKey":"name:base64"}` has one.
 * @throws WireError
 */
export function parseKey(value: unknown, nameOf: (bytes: Buffer) => string): PublicKey {
  const { publicKey, publicSigningKey } = fieldsOf(value);
  const given = publicSigningKey ?? publicKey;
  if (typeof given !== "string") return fail("publicKey is no key");
  if (given.includes(":")) return parsePublicKey(given);
  const bytes = fromBase64(given, 32) ?? fail("publicKey is not 32 bytes in base64");
  return new PublicKey(nameOf(bytes), bytes);
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : fail("an object is missing");
}

function text(name: string, value: unknown): string {
  return typeof value === "string" ? value : fail(`${name} is no text`);
}

function size(name: string, value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : fail(`${name} is no size above 0`);
}

function baseName(name: string, value: unknown): string {
  return typeof value === "string" && parseBaseName(value) ? value : fail(`${name} holds what is no store path`);
}

function fail(why: string): never {
  throw new WireError(why);
}

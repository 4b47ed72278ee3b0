import { formatSha256, parseSha256 } from "./hash.ts";
import { isContentAddress, parseBaseName } from "./store-path.ts";
import { WireError } from "../wire.ts";

/** What a .narinfo says (nix.md §2.2). Hashes are SHA-256 in hex, paths are base names below the store directory. */
export interface NarInfo {
  readonly storePath: string;
  readonly url: string;
  readonly compression: string;
  readonly fileHash?: string | undefined;
  readonly fileSize?: number | undefined;
  readonly narHash: string;
  readonly narSize: number;
  /** Sorted, each once. */
  readonly references: readonly string[];
  readonly deriver?: string | undefined;
  /** `name:base64`. */
  readonly signatures: readonly string[];
  readonly ca?: string | undefined;
}

export const NARINFO_TYPE = "text/x-nix-narinfo";
/** Longest narinfo, bytes: thousands of references have room. */
export const MAX_NARINFO = 1024 * 1024;
const MAX_SIGNATURES = 64;
const MAX_URL = 2048;
const SIGNATURE = /^[^\s:]{1,255}:[0-9a-zA-Z+/=]{1,4096}$/;
const REPEATABLE = new Set(["Sig"]);
const KNOWN = new Set(["StorePath", "URL", "Compression", "FileHash", "FileSize", "NarHash", "NarSize", "References", "Deriver", "Sig", "CA"]);

/** Reads a narinfo of paths below `storeDir`. Keys it doesn't know are left out. @throws WireError */
export function parseNarInfo(text: string, storeDir: string): NarInfo {
  if (Buffer.byteLength(text) > MAX_NARINFO) throw new WireError(`it is longer than ${MAX_NARINFO} bytes`);
  const fields = fieldsOf(text);
  const one = (key: string) => fields.get(key)?.[0];
  const needed = (key: string) => one(key) ?? fail(`${key} is missing`);

  const path = needed("StorePath");
  const storePath = path.startsWith(`${storeDir}/`) ? path.slice(storeDir.length + 1) : fail(`StorePath is not below ${storeDir}`);
  const url = needed("URL");
  const deriver = one("Deriver") === "unknown-deriver" ? undefined : one("Deriver") || undefined;
  const ca = one("CA") || undefined;
  const signatures = (fields.get("Sig") ?? []).map((line) => line.trim());
  if (url === "" || url.length > MAX_URL || /[^!-~]/.test(url)) fail("URL is empty, too long or not plain ASCII");
  if (ca !== undefined && !isContentAddress(ca)) fail("CA is no content address");
  if (signatures.length > MAX_SIGNATURES || !signatures.every((line) => SIGNATURE.test(line))) fail("a Sig is malformed, or there are too many");
  const fileHash = one("FileHash");
  const fileSize = one("FileSize");
  const narSize = sizeOf("NarSize", needed("NarSize"));
  return {
    storePath: baseName("StorePath", storePath),
    url,
    // Nix reads no compression as bzip2.
    compression: compressionOf(one("Compression") || "bzip2"),
    fileHash: fileHash ? hashOf("FileHash", fileHash) : undefined,
    fileSize: fileSize ? sizeOf("FileSize", fileSize) : undefined,
    narHash: hashOf("NarHash", needed("NarHash")),
    narSize: narSize > 0 ? narSize : fail("NarSize is 0"),
    references: [...new Set((one("References") ?? "").split(" ").filter((name) => name !== "").map((name) => baseName("References", name)))].toSorted(),
    deriver: deriver === undefined ? undefined : baseName("Deriver", deriver),
    signatures: [...new Set(signatures)],
    ca,
  };
}

/** In the order and forms in which Nix writes it. */
export function formatNarInfo(info: NarInfo, storeDir: string): string {
  const lines = [`StorePath: ${storeDir}/${info.storePath}`, `URL: ${info.url}`, `Compression: ${info.compression}`];
  if (info.fileHash !== undefined) lines.push(`FileHash: ${formatSha256(info.fileHash)}`);
  if (info.fileSize !== undefined) lines.push(`FileSize: ${info.fileSize}`);
  lines.push(`NarHash: ${formatSha256(info.narHash)}`, `NarSize: ${info.narSize}`, `References: ${info.references.join(" ")}`);
  if (info.deriver !== undefined) lines.push(`Deriver: ${info.deriver}`);
  for (const signature of info.signatures) lines.push(`Sig: ${signature}`);
  if (info.ca !== undefined) lines.push(`CA: ${info.ca}`);
  return `${lines.join("\n")}\n`;
}

/** What a signature of a path covers; URL, compression, file and CA are not in it. */
export function fingerprint(info: Pick<NarInfo, "storePath" | "narHash" | "narSize" | "references">, storeDir: string): string {
  const references = info.references.toSorted().map((reference) => `${storeDir}/${reference}`);
  return `1;${storeDir}/${info.storePath};${formatSha256(info.narHash)};${info.narSize};${references.join(",")}`;
}

function fieldsOf(text: string): Map<string, string[]> {
  if (!text.endsWith("\n")) fail("its last line doesn't end");
  if (/[^\n -~]/.test(text)) fail("it holds characters that no narinfo has");
  const fields = new Map<string, string[]>();
  for (const line of text.slice(0, -1).split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) fail("a line has no key");
    const key = line.slice(0, colon);
    if (!KNOWN.has(key)) continue;
    const values = fields.get(key) ?? [];
    if (values.length > 0 && !REPEATABLE.has(key)) fail(`${key} is there twice`);
    values.push(line.slice(colon + 1).replace(/^ /, ""));
    fields.set(key, values);
  }
  return fields;
}

function baseName(key: string, text: string): string {
  return parseBaseName(text) ? text : fail(`${key} holds what is no store path`);
}

function hashOf(key: string, text: string): string {
  return parseSha256(text) ?? fail(`${key} is no SHA-256`);
}

function sizeOf(key: string, text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : fail(`${key} is no size`);
}

function compressionOf(text: string): string {
  return /^[a-z0-9-]{1,32}$/.test(text) ? text : fail("Compression is no name of one");
}

function fail(why: string): never {
  throw new WireError(why);
}

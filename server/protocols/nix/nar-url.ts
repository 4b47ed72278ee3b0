import { fromNix32, toNix32 } from "./nix32.ts";
import { WireError } from "../wire.ts";

const OWN = /^(?:([0-9a-df-np-sv-z]{52})|([0-9a-f]{64}))\.nar(?:\.[a-z0-9]{1,8})?$/;
/** Endings Nix gives a NAR's name, by compression; it gives others none. */
const ENDINGS: Readonly<Record<string, string>> = { xz: ".xz", bzip2: ".bz2", zstd: ".zst", lzip: ".lzip", lz4: ".lz4", br: ".br" };

/** The hash (hex) in a NAR's name that is made of it: `<52 nix32 or 64 hex>.nar[.xz]`. Undefined for other names. */
export function parseNarName(name: string): string | undefined {
  const [, nix32, hex] = OWN.exec(name) ?? [];
  return hex ?? (nix32 === undefined ? undefined : fromNix32(nix32, 32)?.toString("hex"));
}

/** A narinfo's URL for a NAR of ours, relative to the cache's. @param fileHash hex */
export function narUrl(fileHash: string, compression: string): string {
  return `nar/${toNix32(Buffer.from(fileHash, "hex"))}.nar${ENDINGS[compression] ?? ""}`;
}

/** The hash (hex) of a NAR of ours that a narinfo's URL names. */
export function parseNarUrl(url: string): string | undefined {
  return url.startsWith("nar/") ? parseNarName(url.slice(4)) : undefined;
}

const MAX_URL = 2048;

/**
 * Where a narinfo of another cache has its NAR (nix.md §2.3): relative to that cache's URL, with a query that counts, even
 * with `..`; another host only if it is listed (`host` or `host:port`), never less encrypted than the cache itself.
 * @throws WireError
 */
export function resolveNarUrl(cache: string, url: string, hosts: readonly string[] = []): URL {
  if (url === "" || url.length > MAX_URL || /[^!-~]/.test(url) || url.includes("\\")) throw new WireError("the NAR's URL is empty, too long or malformed");
  // What routers disagree about: a slash, a backslash or a NUL that is escaped, and dots that are.
  if (/%(?:2f|5c|00|2e)/i.test(url.split("?", 1)[0]!)) throw new WireError("the NAR's URL hides separators");
  const base = `${cache.replace(/\/+$/, "")}/`;
  const own = new URL(base);
  if (!URL.canParse(url, base)) throw new WireError("the NAR's URL can't be read");
  const resolved = new URL(url, base);
  resolved.hash = "";
  if (resolved.protocol !== "https:" && resolved.protocol !== "http:") throw new WireError("the NAR's URL is not of HTTP");
  if (own.protocol === "https:" && resolved.protocol !== "https:") throw new WireError("the NAR's URL would leave TLS");
  if (resolved.username !== "" || resolved.password !== "") throw new WireError("the NAR's URL holds a credential");
  if (resolved.host !== own.host && !hosts.includes(resolved.host)) throw new WireError("the NAR's URL leads to another host");
  return resolved;
}

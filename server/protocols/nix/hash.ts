import { fromNix32, toNix32 } from "./nix32.ts";

/** Lengths in bytes of the hashes that Nix knows. */
const SIZES: Readonly<Record<string, number>> = { md5: 16, sha1: 20, sha256: 32, sha512: 64, blake3: 32 };

export interface Hash {
  readonly algorithm: string;
  readonly bytes: Buffer;
}

const HASH = /^([a-z0-9]{3,6})([:-])([0-9a-zA-Z+/=]{1,128})$/;

/** A hash in any of the forms met in the wild: `algo:` with nix32, hex or base64, or SRI's `algo-base64`. Undefined for what is none. */
export function parseHash(text: string): Hash | undefined {
  const [, algorithm = "", separator, digits = ""] = HASH.exec(text) ?? [];
  const size = Object.hasOwn(SIZES, algorithm) ? SIZES[algorithm]! : 0;
  if (size === 0) return undefined;
  const bytes = separator === "-" ? fromBase64(digits, size) : (fromHex(digits, size) ?? fromNix32(digits, size) ?? fromBase64(digits, size));
  return bytes && { algorithm, bytes };
}

/** A SHA-256 in any form, as lower-case hex: what our core names blobs by. */
export function parseSha256(text: string): string | undefined {
  const hash = parseHash(text);
  return hash?.algorithm === "sha256" ? hash.bytes.toString("hex") : undefined;
}

/** The form in which Nix writes it and which signatures cover: `sha256:<nix32>`. @param hex of a SHA-256 */
export function formatSha256(hex: string): string {
  return `sha256:${toNix32(Buffer.from(hex, "hex"))}`;
}

function fromHex(digits: string, size: number): Buffer | undefined {
  return digits.length === size * 2 && /^[0-9a-fA-F]+$/.test(digits) ? Buffer.from(digits, "hex") : undefined;
}

/** Decoders take several texts for the same bytes; only the canonical one is taken here. */
export function fromBase64(digits: string, size: number): Buffer | undefined {
  const bytes = Buffer.from(digits, "base64");
  return bytes.length === size && bytes.toString("base64") === digits ? bytes : undefined;
}

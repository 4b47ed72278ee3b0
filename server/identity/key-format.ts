import { hash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import type { KeyRecord } from "../database/operations/keys.ts";

/**
 * An API key is `stow_<rw|ro|admin>_` + 160 random bits (27 characters of base62) + CRC-32 of all before it (6 characters).
 * The checksum lets a mistyped or made-up key be refused without a look-up; the prefix is for people and secret scanners
 * (rights come from the stored record alone).
 */
const PREFIX = { read: "stow_ro_", write: "stow_rw_", admin: "stow_admin_" } as const;
const SHAPE = /^stow_(?:ro|rw|admin)_[0-9A-Za-z]{33}$/;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKSUM = 6;

export function generateKey(permission: KeyRecord["permission"]): string {
  const text = PREFIX[permission] + base62(BigInt(`0x${randomBytes(20).toString("hex")}`), 27);
  return text + checksum(text);
}

export function isWellFormedKey(key: string): boolean {
  return SHAPE.test(key) && checksum(key.slice(0, -CHECKSUM)) === key.slice(-CHECKSUM);
}

/** SHA-256, hex: a key has more entropy than any guessing can cover, so a slow hash would only slow us. */
export function hashKey(key: string): string {
  return hash("sha256", key, "hex");
}

function checksum(text: string): string {
  return base62(BigInt(crc32(text)), CHECKSUM);
}

function base62(value: bigint, length: number): string {
  let text = "";
  for (let rest = value; rest > 0n; rest /= 62n) text = ALPHABET[Number(rest % 62n)] + text;
  return text.padStart(length, "0");
}

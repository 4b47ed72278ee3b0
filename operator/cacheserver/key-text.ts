import { crc32 } from "node:zlib";

/** As the server writes its own keys (server/identity/key-format.ts): 160 random bits and a checksum, in base62. */
const PREFIX = { admin: "stow_admin_", write: "stow_rw_", read: "stow_ro_" } as const;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function newKey(permission: keyof typeof PREFIX, random: (bytes: number) => Buffer): string {
  const text = PREFIX[permission] + base62(BigInt(`0x${random(20).toString("hex")}`), 27);
  return text + base62(BigInt(crc32(text)), 6);
}

export function newSecret(random: (bytes: number) => Buffer): string {
  return random(32).toString("base64url");
}

function base62(value: bigint, length: number): string {
  let text = "";
  for (let rest = value; rest > 0n; rest /= 62n) text = ALPHABET[Number(rest % 62n)] + text;
  return text.padStart(length, "0");
}

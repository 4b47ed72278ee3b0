/** Nix's own base 32: no e, o, t and u; the digits run from the last bits of the bytes to the first (nix.md §2.1). */
const ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz";
const VALUES = new Map([...ALPHABET].map((digit, value) => [digit, value]));

export function nix32Length(bytes: number): number {
  return Math.ceil((bytes * 8) / 5);
}

export function toNix32(bytes: Uint8Array): string {
  let text = "";
  for (let digit = nix32Length(bytes.length) - 1; digit >= 0; digit--) {
    const byte = (digit * 5) >> 3;
    const pair = bytes[byte]! | ((bytes[byte + 1] ?? 0) << 8);
    text += ALPHABET[(pair >> ((digit * 5) & 7)) & 31];
  }
  return text;
}

/** Undefined for what is not the one text of `size` bytes. */
export function fromNix32(text: string, size: number): Buffer | undefined {
  if (text.length !== nix32Length(size)) return undefined;
  const bytes = Buffer.alloc(size);
  for (let digit = 0; digit < text.length; digit++) {
    const value = VALUES.get(text[text.length - 1 - digit]!);
    if (value === undefined) return undefined;
    const byte = (digit * 5) >> 3;
    const shifted = value << ((digit * 5) & 7);
    bytes[byte]! |= shifted & 0xff;
    if (shifted >> 8 === 0) continue;
    // Bits beyond the last byte: two texts would mean the same bytes.
    if (byte + 1 === size) return undefined;
    bytes[byte + 1]! |= shifted >> 8;
  }
  return bytes;
}

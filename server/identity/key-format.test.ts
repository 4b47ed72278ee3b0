import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { generateKey, hashKey, isWellFormedKey } from "./key-format.ts";

const permission = fc.constantFrom("read", "write", "admin");

test("a key says what it is for and survives a double click", () => {
  expect(generateKey("write")).toMatch(/^stow_rw_[0-9A-Za-z]{33}$/);
  expect(generateKey("read")).toMatch(/^stow_ro_[0-9A-Za-z]{33}$/);
  expect(generateKey("admin")).toMatch(/^stow_admin_[0-9A-Za-z]{33}$/);
});

test("keys don't repeat", () => {
  expect(new Set(Array.from({ length: 1000 }, () => generateKey("read"))).size).toBe(1000);
});

test("a generated key is well formed", () => {
  fc.assert(fc.property(permission, (kind) => isWellFormedKey(generateKey(kind))));
});

test("a key with one character mistyped is not well formed", () => {
  fc.assert(
    fc.property(permission, fc.nat(), fc.constantFrom(..."0123456789ABCXYZabcxyz"), (kind, at, character) => {
      const key = generateKey(kind);
      const index = at % key.length;
      fc.pre(key[index] !== character);
      return !isWellFormedKey(key.slice(0, index) + character + key.slice(index + 1));
    }),
  );
});

test("no other text is well formed, whatever its length", () => {
  fc.assert(fc.property(fc.string({ maxLength: 100 }), (text) => !isWellFormedKey(text) && !isWellFormedKey(`stow_rw_${text}`)));
});

test("the checksum is the CRC-32 of what stands before it, in base62", () => {
  const key = generateKey("write");
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const value = Array.from(key.slice(-6)).reduce((sum, digit) => sum * 62 + digits.indexOf(digit), 0);
  expect(value).toBe(crc32(key.slice(0, -6)));
});

test("a key is kept as its SHA-256", () => {
  expect(hashKey("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

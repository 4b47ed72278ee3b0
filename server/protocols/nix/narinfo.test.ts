import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePublicKey } from "./keys.ts";
import { fingerprint, formatNarInfo, MAX_NARINFO, parseNarInfo, type NarInfo } from "./narinfo.ts";
import { WireError } from "../wire.ts";

const STORE = "/nix/store";
/** Written and signed by Nix 2.8. */
const KEY = "stowhouse-test-1:luZzN6ciVvc5vucdT+tzLwND0XbTDgIOAogSwjHwed0=";
const SELF = `StorePath: /nix/store/g49igyb0c1n46329blbs4b61az221am1-stow-self
URL: nar/0586syvf9ybdvg4482d2w3qfjrpv91ckysmmllszxiki7bf5jidr.nar.zst
Compression: zstd
FileHash: sha256:0586syvf9ybdvg4482d2w3qfjrpv91ckysmmllszxiki7bf5jidr
FileSize: 164
NarHash: sha256:1cqc26hx8xqafxb2px8pskkl4pjbsa8917d94l3vdn7hi5k4j54v
NarSize: 224
References: g49igyb0c1n46329blbs4b61az221am1-stow-self g67ymbgjrixwch24001xyk1glc8hsbv5-stow-a
Deriver: 7dwp4s0w6s9dvc0hx8wh5a2arm14dcnd-stow-self.drv
Sig: stowhouse-test-1:6UJrPmRs7yTxbklEuGwR4MiwVAd8GlZEtKerAxh82dNGR6pRUXc8xJIkoIrB4ek6Ucu6GoMLYpxBzTWqzhi2CQ==
`;
const TEXT = `StorePath: /nix/store/wjzw4rd1fgnwa0mvwfdifdlca4zk8v04-stow-text2
URL: nar/0aj4xhsc767jn9r9v4zc6jzsdwf7swwlzkjj1l9dvdyb0ip6pllb.nar.zst
Compression: zstd
FileHash: sha256:0aj4xhsc767jn9r9v4zc6jzsdwf7swwlzkjj1l9dvdyb0ip6pllb
FileSize: 93
NarHash: sha256:1d712nw4dcndx9pwb9xh5y6rh0map5kmw88hp5fqagzln4c92a4g
NarSize: 120
References: 
Sig: stowhouse-test-1:arPuGSrqLUTW0pNkJBBOgFiaoHSAMPdsnKPjD+S8iXQVL1TddS9Nl0cZ+O9ozp7HbjAzOygz/NtXOkeEvkLiAw==
CA: text:sha256:1ymh908v3l1pkgvqqaj1j0inihh0srspi3jbzy68izsl70vf9z51
`;

describe("what Nix writes", () => {
  test.each([SELF, TEXT])("is read and written again to the byte", (text) => {
    expect(formatNarInfo(parseNarInfo(text, STORE), STORE)).toBe(text);
  });

  test.each([SELF, TEXT])("is signed over the fingerprint as it is made here", (text) => {
    const info = parseNarInfo(text, STORE);
    expect(parsePublicKey(KEY).verifies(fingerprint(info, STORE), info.signatures[0]!)).toBe(true);
  });

  test("has a fingerprint that no order of references changes", () => {
    const [one, two] = parseNarInfo(SELF, STORE).references;
    const turned = parseNarInfo(SELF.replace(`${one} ${two}`, `${two} ${one} ${one}`), STORE);
    expect(turned).toEqual(parseNarInfo(SELF, STORE));
  });
});

describe("what others write", () => {
  const without = (...keys: string[]) => SELF.split("\n").filter((line) => !keys.some((key) => line.startsWith(`${key}:`))).join("\n");

  test.each([
    ["no compression, which means bzip2", without("Compression"), { compression: "bzip2" }],
    ["an empty compression", SELF.replace("Compression: zstd", "Compression: "), { compression: "bzip2" }],
    ["no file hash nor size", without("FileHash", "FileSize"), { fileHash: undefined, fileSize: undefined }],
    ["an unknown deriver", SELF.replace(/Deriver: .*/, "Deriver: unknown-deriver"), { deriver: undefined }],
    ["hashes in hex", SELF.replace(/NarHash: .*/, `NarHash: sha256:${"ab".repeat(32)}`), { narHash: "ab".repeat(32) }],
    ["hashes as SRI", SELF.replace(/FileHash: .*/, `FileHash: sha256-${Buffer.alloc(32, 1).toString("base64")}`), { fileHash: "01".repeat(32) }],
    ["keys nobody knows, twice", `System: x86_64-linux\nSystem: y\n${SELF}`, {}],
    ["no references", without("References"), { references: [] }],
    ["no space after the colon", SELF.replace(/References: .*/, "References:"), { references: [] }],
    ["two signatures", `${SELF}Sig: other-1:AAAA\n`, { signatures: [/Sig: (.*)/.exec(SELF)![1], "other-1:AAAA"] }],
    ["the same signature twice", `${SELF}${/Sig: .*\n/.exec(SELF)![0]}`, {}],
  ])("%s", (_, text, expected) => {
    expect(parseNarInfo(text, STORE)).toMatchObject({ ...parseNarInfo(SELF, STORE), ...expected });
  });

  test.each([
    ["an unfinished last line", SELF.slice(0, -1)],
    ["nothing", ""],
    ["a line without a key", `${SELF}hello\n`],
    ["another store", SELF.replace("/nix/store/", "/gnu/store/")],
    ["a path outside of the store", SELF.replace("/nix/store/g49", "/nix/store/../etc/g49")],
    ["no NarHash", without("NarHash")],
    ["no URL", without("URL")],
    ["no StorePath", without("StorePath")],
    ["no NarSize", without("NarSize")],
    ["a NarSize of nothing", SELF.replace("NarSize: 224", "NarSize: 0")],
    ["a NarSize in words", SELF.replace("NarSize: 224", "NarSize: 2e9")],
    ["a NarHash of another kind", SELF.replace(/NarHash: .*/, `NarHash: sha1:${"0".repeat(40)}`)],
    ["references twice", `${SELF}References: \n`],
    ["two store paths", `${SELF}StorePath: /nix/store/wjzw4rd1fgnwa0mvwfdifdlca4zk8v04-stow-text2\n`],
    ["a reference with a slash", SELF.replace("References: ", "References: g67ymbgjrixwch24001xyk1glc8hsbv5-a/../b ")],
    ["two addresses", `${TEXT}CA: text:sha256:1ymh908v3l1pkgvqqaj1j0inihh0srspi3jbzy68izsl70vf9z51\n`],
    ["an address that is none", TEXT.replace("CA: text", "CA: tEXT")],
    ["a carriage return", SELF.replace("zstd\n", "zstd\r\n")],
    ["a NUL", SELF.replace("zstd\n", "zs\0td\n")],
    ["a URL with a space", SELF.replace("URL: nar/", "URL: nar/ ")],
    ["a signature that is none", `${SELF}Sig: hello\n`],
    ["signatures without end", SELF + Array.from({ length: 70 }, (_, i) => `Sig: k-${i}:AAAA\n`).join("")],
    ["more than a megabyte", `${SELF}Note: ${"x".repeat(MAX_NARINFO)}\n`],
  ])("is refused with %s", (_, text) => {
    expect(() => parseNarInfo(text, STORE)).toThrow(WireError);
  });
});

const hash = fc.stringMatching(/^[0-9a-df-np-sv-z]{32}$/);
const baseName = fc.tuple(hash, fc.stringMatching(/^[0-9a-zA-Z+\-._?=]{3,40}$/)).map((parts) => parts.join("-"));
const sha256 = fc.stringMatching(/^[0-9a-f]{64}$/);
const narInfo: fc.Arbitrary<NarInfo> = fc.record({
  storePath: baseName,
  url: fc.stringMatching(/^[!-~]{1,50}$/),
  compression: fc.constantFrom("none", "xz", "zstd"),
  fileHash: fc.option(sha256, { nil: undefined }),
  fileSize: fc.option(fc.nat(), { nil: undefined }),
  narHash: sha256,
  narSize: fc.integer({ min: 1 }),
  references: fc.uniqueArray(baseName, { maxLength: 5 }).map((names) => names.toSorted()),
  deriver: fc.option(baseName, { nil: undefined }),
  signatures: fc.uniqueArray(fc.stringMatching(/^[a-z.-]{1,9}:[0-9a-zA-Z+/]{86}==$/), { maxLength: 3 }),
  ca: fc.constantFrom(undefined, "fixed:r:sha256:05kk0nvyzi0j6i46bir1znzhl7hs5dxfck5m75pm88jb9bqm6hhr"),
});

test("any narinfo is read as it was written", () => {
  fc.assert(fc.property(narInfo, (info) => {
    expect(parseNarInfo(formatNarInfo(info, STORE), STORE)).toEqual(info);
  }));
});

test("text that is none is refused, and nothing worse", () => {
  const line = fc.tuple(fc.constantFrom("StorePath", "URL", "NarHash", "NarSize", "References", "Sig", "CA", "X"), fc.string()).map(([key, value]) => `${key}: ${value}\n`);
  fc.assert(fc.property(fc.oneof(fc.string(), fc.array(line).map((lines) => lines.join(""))), (text) => {
    try {
      parseNarInfo(text, STORE);
    } catch (error) {
      expect(error).toBeInstanceOf(WireError);
    }
  }));
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { narInfoCreate } from "../../../../test/fixtures/cachix.ts";
import { testPath } from "../../../../test/fixtures/nix.ts";
import { WireError } from "../../wire.ts";
import { narInfoOf, parseCompletion, parseCompression, parseCreated, parseHashes, parseKey, parsePartNumber, parseSigningData } from "./wire.ts";

const path = testPath("wire", "x", { references: [testPath("b").info.storePath, testPath("a").info.storePath], deriver: `${testPath("d").hash}-d.drv` });
const sent = narInfoCreate(path.info);

describe("what a client says of a path", () => {
  test("is the narinfo it was made from", () => {
    expect(narInfoOf(parseCreated(sent), "zstd", [])).toEqual({ ...path.info, references: path.info.references.toSorted() });
  });

  test.each<[string, object]>([
    ["a hash with its algorithm", { cFileHash: `sha256:${sent.cFileHash}` }], ["a dash before the name", { cStoreSuffix: `-${sent.cStoreSuffix}` }],
    ["references twice", { cReferences: [...sent.cReferences, ...sent.cReferences] }], ["fields nobody knows", { cNew: 1 }],
  ])("may have %s, as other clients write it", (_, more) => {
    expect(parseCreated({ ...sent, ...more })).toEqual(parseCreated(sent));
  });

  test.each(["", "unknown-deriver", null, undefined])("has no deriver when that is %j", (cDeriver) => {
    expect(parseCreated({ ...sent, cDeriver }).deriver).toBeUndefined();
  });

  test("without any of its fields is refused", () => {
    for (const field of Object.keys(sent).filter((name) => name !== "cSig" && name !== "cDeriver")) {
      expect(() => parseCreated({ ...sent, [field]: undefined }), field).toThrow(WireError);
    }
  });
});

test("a completion lists parts in the order of their numbers, or none", () => {
  const eTag = `"${"a".repeat(32)}"`;
  expect(parseCompletion({ parts: [{ partNumber: 1, eTag }, { partNumber: 7, eTag }], narInfoCreate: sent }).parts).toEqual([{ number: 1, md5: "a".repeat(32) }, { number: 7, md5: "a".repeat(32) }]);
  for (const parts of [null, undefined]) expect(parseCompletion({ parts, narInfoCreate: sent }).parts).toBeNull();
});

test("whatever comes over the wire is understood or refused", () => {
  const parsers: ((value: unknown) => unknown)[] = [
    parseCompression, parseHashes, parseSigningData, parsePartNumber, parseCompletion, parseCreated, (value) => parseKey(value, () => "x"),
    (value) => parseCompletion({ parts: value, narInfoCreate: sent }), (value) => parseCompletion({ parts: [value], narInfoCreate: sent }), (value) => parseSigningData({ contentMD5: value }),
    (value) => parseKey({ publicKey: value }, () => "x"), ...Object.keys(sent).map((field) => (value: unknown) => parseCreated({ ...sent, [field]: value })),
  ];
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    for (const parse of parsers) {
      try {
        parse(value);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }
  }));
});

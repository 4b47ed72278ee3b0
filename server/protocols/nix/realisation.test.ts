import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatRealisation, idText, parseHashId, parseRealisation, parseTraceId, realisationFingerprint, type RealisationId } from "./realisation.ts";
import { WireError } from "../wire.ts";

const HASH = `sha256:${"ab".repeat(32)}!out`;
const OUT = "ihg4h3rpkbz9z52vmz9p3mavsgckg4v8-stow-ca";
const byHash = parseHashId(HASH)!;
const byPath = parseTraceId("ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca.drv", "out")!;

test("both forms of ids have a text of their own", () => {
  expect(idText(byHash)).toBe(HASH);
  expect(idText(byPath)).toBe("ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca.drv/out");
});

test.each(["", "out", `sha256:${"ab".repeat(32)}`, `sha256:${"ab".repeat(32)}!`, `sha256:${"AB".repeat(32)}!out`, `sha1:${"ab".repeat(20)}!out`, `${HASH}/x`, `${HASH}\n`])("%j is no id", (name) => {
  expect(parseHashId(name)).toBeUndefined();
});

test.each([["ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca", "out"], ["x.drv", "out"], ["ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca.drv", ""], ["ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca.drv", ".."]])("%s and %s name no output", (drv, output) => {
  expect(parseTraceId(drv, output)).toBeUndefined();
});

describe("a body", () => {
  test("of the older form is written as Nix writes it", () => {
    const text = `{"dependentRealisations":{},"id":"${HASH}","outPath":"${OUT}","signatures":["k-1:AAAA"]}`;
    expect(formatRealisation(parseRealisation(text, byHash))).toBe(text);
    expect(realisationFingerprint(parseRealisation(text, byHash))).toBe(`{"dependentRealisations":{},"id":"${HASH}","outPath":"${OUT}"}`);
  });

  test("of the newer form is read with signatures of either shape", () => {
    const [texts, objects] = [["k-1:AAAA"], [{ keyName: "k-1", sig: "AAAA" }]].map((signatures) => parseRealisation(JSON.stringify({ outPath: OUT, signatures }), byPath));
    expect(texts).toEqual(objects);
    expect(formatRealisation(texts!)).toBe(`{"outPath":"${OUT}","signatures":[{"keyName":"k-1","sig":"AAAA"}]}`);
    expect(realisationFingerprint(texts!)).toBe(`{"key":{"drvPath":"ijzlkw66mzn2djz53y0xd45pvy50ppkh-stow-ca.drv","outputName":"out"},"value":{"outPath":"${OUT}"}}`);
  });

  test.each<[string, string, RealisationId]>([
    ["is no JSON", "{", byPath],
    ["is a list", "[]", byPath],
    ["has no outPath", "{}", byPath],
    ["leaves the store", `{"outPath":"../${OUT}"}`, byPath],
    ["is of another id", `{"id":"${HASH}2","outPath":"${OUT}"}`, byHash],
    ["has dependencies that are none", `{"id":"${HASH}","outPath":"${OUT}","dependentRealisations":{"x":"y"}}`, byHash],
    ["has a list of dependencies", `{"id":"${HASH}","outPath":"${OUT}","dependentRealisations":["x"]}`, byHash],
    ["has signatures that are none", `{"outPath":"${OUT}","signatures":[1]}`, byPath],
    ["has signatures without end", `{"outPath":"${OUT}","signatures":${JSON.stringify(Array.from({ length: 65 }, () => "k:A"))}}`, byPath],
    ["is too long", `{"outPath":"${OUT}","x":"${"x".repeat(300_000)}"}`, byPath],
  ])("is refused when it %s", (_, text, id) => {
    expect(() => parseRealisation(text, id)).toThrow(WireError);
  });

  test("whatever it is, it is read or refused", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json(), fc.record({ outPath: fc.anything(), signatures: fc.anything(), dependentRealisations: fc.anything() }).map((value) => JSON.stringify(value))), (text) => {
      try {
        parseRealisation(text, byPath);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }));
  });
});

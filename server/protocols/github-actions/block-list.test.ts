import fc from "fast-check";
import { expect, test } from "vitest";
import { StowError } from "../../core/errors.ts";
import { blockId, bodyOf, parseBlockList, placesOf } from "./block-list.ts";

const id = fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString("base64"));
const source = fc.constantFrom("Latest" as const, "Committed" as const, "Uncommitted" as const);
const space = fc.constantFrom("", " ", "\n", "\r\n  ");

test("a list is read in its order, however it is spaced", () => {
  const block = fc.record({ id, source });
  fc.assert(fc.property(fc.uniqueArray(block, { selector: (one) => one.id, maxLength: 30 }), space, fc.boolean(), (list, gap, prolog) => {
    const items = list.map((one) => `<${one.source}>${gap}${one.id}${gap}</${one.source}>${gap}`).join("");
    expect(parseBlockList(`${prolog ? '\uFEFF<?xml version="1.0" encoding="utf-8"?>' : ""}${gap}<BlockList>${gap}${items}</BlockList>${gap}`)).toEqual(list);
  }));
});

test("any text is a list or a bad request", () => {
  const piece = fc.oneof(fc.constantFrom("<BlockList>", "</BlockList>", "<Latest>", "</Latest>", "QQ==", "<Committed>", "<!--", " "), fc.string({ maxLength: 10 }));
  fc.assert(fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
    try {
      parseBlockList(pieces.join(""));
    } catch (error) {
      expect(error).toBeInstanceOf(StowError);
      expect((error as StowError).status).toBe(400);
    }
  }), { numRuns: 1_000 });
});

test.each([
  ["", "nothing"],
  ["<BlockList>", "no end"],
  ["<BlockList><Latest>QQ==</Committed></BlockList>", "tags that don't match"],
  ["<BlockList><Latest>Q</Latest></BlockList>", "broken base64"],
  ["<BlockList><Latest>QR==</Latest></BlockList>", "base64 that isn't canonical"],
  [`<BlockList><Latest>${Buffer.alloc(65).toString("base64")}</Latest></BlockList>`, "65 bytes"],
  ["<BlockList><Latest>QQ==</Latest><Committed>QQ==</Committed></BlockList>", "a block twice"],
  ["<BlockList><Latest>QQ==</Latest></BlockList><x/>", "more after its end"],
  ['<!DOCTYPE x [<!ENTITY a "b">]><BlockList></BlockList>', "a document type"],
])("%j is refused (%s)", (xml) => {
  expect(() => parseBlockList(xml)).toThrow(StowError);
});

test("no more than 50,000 blocks", () => {
  const xml = (count: number) => `<BlockList>${Array.from({ length: count }, (_, i) => `<Latest>${Buffer.from(String(i).padStart(6, "0")).toString("base64")}</Latest>`).join("")}</BlockList>`;
  expect(parseBlockList(xml(50_000))).toHaveLength(50_000);
  expect(() => parseBlockList(xml(50_001))).toThrow(/50000/);
});

test("an empty list is a list", () => {
  expect([parseBlockList("<BlockList></BlockList>"), parseBlockList("<BlockList />")]).toEqual([[], []]);
});

test("ids are base64 of 1 to 64 bytes", () => {
  expect(blockId("QQ==")).toBe("QQ==");
  for (const wrong of ["", "Q", "QQ", "Q Q=", Buffer.alloc(65).toString("base64")]) expect(() => blockId(wrong)).toThrow(StowError);
});

test("Latest prefers what was sent since the last list, the others take from one side", () => {
  expect(placesOf([{ id: "A", source: "Latest" }, { id: "B", source: "Committed" }, { id: "C", source: "Uncommitted" }])).toEqual([
    { from: ["u:A", "c:A"], to: "c:A" }, { from: ["c:B"], to: "c:B" }, { from: ["u:C"], to: "c:C" },
  ]);
});

test("a blob is what was put whole, else the listed blocks, else nothing", () => {
  const parts = (...names: string[]) => names.map((name) => ({ name }));
  expect(bodyOf(parts("u:A", "c:B", "blob"))).toEqual(["blob"]);
  expect(bodyOf(parts("u:A", "c:B", "c:A"))).toEqual(["c:B", "c:A"]);
  expect(bodyOf(parts("u:A", "@0"))).toBeUndefined();
});

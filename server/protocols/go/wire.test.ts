import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { absent, BUNDLE_HEAD_BYTES, formatBundleHead, formatHead, formatIds, HEAD_BYTES, parseBundleHead, parseHead, parseIds, RecordParser, type Received } from "./wire.ts";
import { WireError } from "../wire.ts";

const id = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const record = fc
  .record({ action: id, output: id, body: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)), zstd: fc.boolean(), more: fc.nat(1000), time: fc.nat() })
  .map(({ action, output, body, zstd, more, time }): Received => ({ body, head: { action, output, zstd, time, found: true, stored: body.length, size: zstd ? body.length + more : body.length } }));

describe("records", () => {
  it("are the same however their bytes arrive", () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 30 }), (records, cuts) => {
        const bytes = Buffer.concat(records.flatMap(({ head, body }) => [formatHead(head), body]));
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
        const parser = new RecordParser(1000);
        const parsed = at.slice(1).flatMap((end, i) => [...parser.push(bytes.subarray(at[i], end))]);
        expect(parsed).toEqual(records);
        expect(parser.idle).toBe(true);
      }),
    );
  });

  it("that are cut off are not complete, wherever it is", () => {
    const bytes = Buffer.concat([formatHead({ action: "a".repeat(64), output: "b".repeat(64), size: 3, stored: 3, zstd: false, found: true, time: 1 }), Buffer.from("abc")]);
    for (let end = 1; end < bytes.length; end++) {
      const parser = new RecordParser(10);
      expect([...parser.push(bytes.subarray(0, end))]).toEqual([]);
      expect(parser.idle).toBe(false);
    }
  });

  it("larger than allowed are refused before they are kept", () => {
    const head = formatHead({ action: "a".repeat(64), output: "b".repeat(64), size: 11, stored: 11, zstd: false, found: true, time: 1 });
    expect(() => [...new RecordParser(10).push(head)]).toThrow(WireError);
  });

  it("say what is not there without a body", () => {
    expect(parseHead(absent("c".repeat(64)))).toMatchObject({ action: "c".repeat(64), found: false, stored: 0 });
  });

  it("of any other bytes throw nothing but a WireError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: HEAD_BYTES, maxLength: 400 }), (bytes) => {
        try {
          for (const _ of new RecordParser(100).push(Buffer.from(bytes)));
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
    );
  });
});

describe("lists of actions", () => {
  it("come back as they were", () => {
    fc.assert(fc.property(fc.array(id, { maxLength: 20 }), (ids) => { expect(parseIds(formatIds(ids))).toEqual(ids); }));
  });

  it("that end in the middle of one are refused", () => {
    expect(() => parseIds(Buffer.alloc(33))).toThrow(WireError);
  });

  it("stand before a bundle's records", () => {
    const head = formatBundleHead(["d".repeat(64), "e".repeat(64)]);
    expect(parseBundleHead(head)).toBe(2);
    expect(parseIds(head.subarray(BUNDLE_HEAD_BYTES))).toEqual(["d".repeat(64), "e".repeat(64)]);
    expect(() => parseBundleHead(Buffer.from("<html>  "))).toThrow(WireError);
  });
});

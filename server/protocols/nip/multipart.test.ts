import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { boundaryOf, FORM_LIMITS, FormParser, MultipartError, type FormLimits } from "./multipart.ts";

const BOUNDARY = "x--y";

interface Part {
  name: string;
  data: Buffer;
}

function form(parts: readonly Part[], boundary = BOUNDARY): Buffer {
  return Buffer.concat([
    ...parts.flatMap(({ name, data }) => [Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`), data, Buffer.from("\r\n")]),
    Buffer.from(`--${boundary}--\r\n`),
  ]);
}

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

function parse(chunks: readonly Buffer[], limits?: FormLimits): { parts: Part[]; complete: boolean } {
  const parser = new FormParser(BOUNDARY, limits);
  const parts: Part[] = [];
  for (const chunk of chunks) {
    for (const event of parser.push(chunk)) {
      if (Buffer.isBuffer(event)) parts.at(-1)!.data = Buffer.concat([parts.at(-1)!.data, event]);
      else parts.push({ name: event.name, data: Buffer.alloc(0) });
    }
  }
  return { parts, complete: parser.complete };
}

/** Bytes that look like boundaries and line breaks as often as possible, but hold no delimiter. */
const data = fc
  .array(fc.oneof(fc.constantFrom("\r", "\n", "-", "\r\n", "--", "\r\n--", "\r\n--x", "\r\n--x-", "x--y", "--x--y", "\n--x--y"), fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString("latin1"))), { maxLength: 12 })
  .map((pieces) => Buffer.from(pieces.join(""), "latin1"))
  .filter((bytes) => !Buffer.concat([bytes, Buffer.from("\r\n--")]).includes(`\r\n--${BOUNDARY}`));
const part = fc.record({ name: fc.stringMatching(/^[a-z]{1,8}$/), data });

describe("the form parser", () => {
  it("finds the same parts with the same data however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 20 }), (parts, places) => {
        expect(parse(cut(form(parts), places))).toEqual({ parts, complete: true });
      }),
      { numRuns: 500 },
    );
  });

  it("reads a form that comes byte by byte", () => {
    const parts = [{ name: "metadata", data: Buffer.from("{}") }, { name: "file", data: Buffer.from("a\r\nb\r\n--x--") }, { name: "empty", data: Buffer.alloc(0) }];
    const bytes = form(parts);
    expect(parse(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)))).toEqual({ parts, complete: true });
  });

  it("is not complete without its closing boundary, wherever the form is cut off", () => {
    const whole = form([{ name: "file", data: Buffer.from("bytes") }]);
    const end = whole.length - "\r\n".length;
    for (let length = 0; length < end; length++) expect(parse([whole.subarray(0, length)]).complete).toBe(false);
    expect(parse([whole.subarray(0, end)]).complete).toBe(true);
  });

  it("answers any bytes with parts or a MultipartError, and the same for every cut", () => {
    const outcome = (chunks: readonly Buffer[]) => {
      try {
        return parse(chunks);
      } catch (error) {
        if (!(error instanceof MultipartError)) throw error;
        return "refused";
      }
    };
    const token = fc.constantFrom("--x--y", "\r\n--x--y", "--", "\r\n", "\r\n\r\n", 'Content-Disposition: form-data; name="a"', "Content-Type:", ":", ";", '"', " ", "a");
    fc.assert(
      fc.property(fc.array(token, { maxLength: 30 }), fc.array(fc.nat(), { maxLength: 10 }), (tokens, places) => {
        const bytes = Buffer.from(tokens.join(""));
        expect(outcome(cut(bytes, places))).toEqual(outcome([bytes]));
      }),
      { numRuns: 1000 },
    );
  });

  it("lets bytes stand before the first and after the last boundary, but not many", () => {
    const body = form([{ name: "file", data: Buffer.from("1") }]);
    const around = (size: number) => [Buffer.alloc(size, " "), Buffer.from("\r\n"), body, Buffer.alloc(size, " ")];
    expect(parse(around(100)).parts).toHaveLength(1);
    expect(() => parse(around(FORM_LIMITS.strayBytes))).toThrow("too many bytes outside");
  });

  it("ends an endless header block, a flood of parts and a flood of headers", () => {
    const head = (lines: string) => Buffer.from(`--${BOUNDARY}\r\n${lines}`);
    expect(() => parse([head("A: "), Buffer.alloc(FORM_LIMITS.headerBytes, "a")])).toThrow("headers are too long");
    expect(() => parse([head(`${"A: b\r\n".repeat(FORM_LIMITS.headers + 1)}\r\n`)])).toThrow(/more than \d+ headers/);
    expect(() => parse([form(Array.from({ length: FORM_LIMITS.parts + 1 }, () => ({ name: "a", data: Buffer.alloc(0) })))])).toThrow(/more than \d+ parts/);
  });

  it.each([
    ["no headers", "\r\n", "no name"],
    ["another disposition", 'Content-Disposition: attachment; name="file"\r\n', "no name"],
    ["a malformed disposition", 'Content-Disposition: form-data; name="file\r\n', "no name"],
    ["a header without a colon", "Content-Disposition\r\n", "broken header"],
    ["a folded header", 'Content-Disposition: form-data;\r\n name="file"\r\n', "broken header"],
    ["an encoding", 'Content-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: base64\r\n', "Content-Transfer-Encoding"],
  ])("refuses a part with %s", (_, lines, message) => {
    expect(() => parse([Buffer.from(`--${BOUNDARY}\r\n${lines}\r\n1\r\n--${BOUNDARY}--`)])).toThrow(message);
  });

  it("refuses a line that begins like a boundary and goes on", () => {
    expect(() => parse([Buffer.from(`--${BOUNDARY}z\r\nContent-Disposition: form-data; name="a"\r\n\r\n`)])).toThrow("something else than a line break");
  });

  it("takes the field's name and never a file's", () => {
    const named = (disposition: string) => parse([Buffer.from(`--${BOUNDARY}\r\ncontent-disposition:${disposition}\r\n\r\n`)]).parts[0]?.name;
    expect(named('form-data; filename="; name=\\"metadata\\""; name=file')).toBe("file");
    expect(named('Form-Data ; NAME = "file" ; filename="C:\\dir\\a.tgz"')).toBe("file");
    expect(named("form-data; filename*=UTF-8''%e2%82%ac; name=\"a\\\"b\";")).toBe('a"b');
  });
});

describe("the boundary", () => {
  it("is read from a multipart/form-data type only", () => {
    expect(boundaryOf("multipart/form-data; boundary=abc")).toBe("abc");
    expect(boundaryOf('Multipart/Form-Data; charset=utf-8; boundary="a b:c"')).toBe("a b:c");
    for (const other of [undefined, "", "application/json", "multipart/mixed; boundary=abc", "multipart/form-data, boundary=abc"]) expect(boundaryOf(other)).toBeUndefined();
  });

  it.each(["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="a "', `multipart/form-data; boundary=${"a".repeat(201)}`, "multipart/form-data; boundary=\u00e9"])(
    "must be there and valid: %s",
    (type) => {
      expect(() => boundaryOf(type)).toThrow("no valid boundary");
    },
  );
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { base64Of, ProtocolError, RequestParser, type Request } from "./protocol.ts";

interface Seen extends Request {
  body?: Buffer;
  problem?: string | undefined;
}

function parse(pieces: readonly Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const parser = new RequestParser((request) => {
    const one: Seen = { ...request };
    const body: Buffer[] = [];
    seen.push(one);
    return {
      write: (bytes) => body.push(Buffer.from(bytes)),
      end: (problem) => {
        one.body = Buffer.concat(body);
        if (problem !== undefined) one.problem = problem;
      },
    };
  });
  for (const piece of pieces) parser.push(piece);
  return seen;
}

const put = (id: number, body: Buffer) => {
  const head = JSON.stringify({ ID: id, Command: "put", ActionID: base64Of("aa".repeat(32)), OutputID: base64Of("bb".repeat(32)), BodySize: body.length });
  return `${head}\n\n${body.length === 0 ? "" : `${JSON.stringify(body.toString("base64"))}\n`}`;
};

describe("requests", () => {
  it("are the same however their bytes arrive", () => {
    const bodies = fc.array(fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)), { maxLength: 5 });
    fc.assert(
      fc.property(bodies, fc.array(fc.nat(), { maxLength: 30 }), (all, cuts) => {
        const bytes = Buffer.from(all.map((body, id) => put(id, body)).join(""));
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
        const seen = parse(at.slice(1).map((end, i) => bytes.subarray(at[i], end)));
        expect(seen.map(({ id, body, problem }) => ({ id, body, problem }))).toEqual(all.map((body, id) => ({ id, body, problem: undefined })));
      }),
    );
  });

  it("of a get and of a close have no body", () => {
    expect(parse([Buffer.from('{"ID":1,"Command":"get","ActionID":"qqo="}\n\n{"ID":2,"Command":"close"}\n')])).toMatchObject([
      { id: 1, command: "get", action: "aaaa" },
      { id: 2, command: "close" },
    ]);
  });

  it("may say ObjectID, as older clients do", () => {
    expect(parse([Buffer.from('{"ID":1,"Command":"put","ActionID":"qqo=","ObjectID":"u7s=","BodySize":0}\n')])).toMatchObject([{ output: "bbbb", body: Buffer.alloc(0) }]);
  });

  it("with a body of another size say so", () => {
    const text = put(1, Buffer.from("hello")).replace('"BodySize":5', '"BodySize":6');
    expect(parse([Buffer.from(text)])[0]!.problem).toBe("a body has 5 bytes instead of 6");
  });

  it.each(["not json\n", '{"Command":"get"}\n', '{"ID":1,"Command":"put","BodySize":-1}\n', `{"ID":1,"Command":"${"x".repeat(70_000)}"}\n`])("that no go command sends are refused", (text) => {
    expect(() => parse([Buffer.from(text)])).toThrow(ProtocolError);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Gate } from "./gate.ts";

const SECRET = "a-secret-of-the-job_0123456789";
const RUNTIME = "the.runtime.token";
const gate = new Gate(SECRET, RUNTIME);
const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
const knock = (over: Partial<Parameters<Gate["admit"]>[0]>) => gate.admit({ url: "/x?y", authorization: undefined, local: true, intercepted: false, ...over });

describe("the gate", () => {
  it.each([`Bearer ${SECRET}`, `bearer  ${SECRET}`, basic(`any:${SECRET}`), basic(`${SECRET}:`), basic(`${SECRET}:x-oauth-basic`), basic(SECRET)])("admits %s", (authorization) => {
    expect(knock({ authorization })).toEqual({ target: "/x?y", server: undefined });
  });

  it.each([undefined, "", "Bearer", `Bearer ${SECRET} x`, `Bearer ${SECRET.slice(1)}`, SECRET, basic(`${SECRET}:password`), basic(`:${SECRET}x`), `Bearer ${RUNTIME}`])("refuses %s", (authorization) => {
    expect(knock({ authorization })).toBeUndefined();
  });

  it("admits by path, takes the secret off it, and knows the server a URL belongs to", () => {
    expect(knock({ url: `/s/${SECRET}/x?y` })).toEqual({ target: "/x?y", server: undefined });
    expect(knock({ url: gate.path("/x?y", 3) })).toEqual({ target: "/x?y", server: 3 });
    for (const url of [`/s/${SECRET}`, `/s/${SECRET}x/x`, `/s//x`, `//s/${SECRET}/x`]) expect(knock({ url })).toBeUndefined();
    // A wrong secret in the path is not made good by a header.
    expect(knock({ url: "/s/wrong/x", authorization: `Bearer ${SECRET}` })).toBeUndefined();
  });

  it("off loopback admits by path alone", () => {
    expect(knock({ local: false, authorization: `Bearer ${SECRET}` })).toBeUndefined();
    expect(knock({ local: false, url: `/s/${SECRET}/x` })).toBeDefined();
  });

  it("admits intercepted requests by the job's runtime token and by path, not by the tools' secret", () => {
    expect(knock({ intercepted: true, authorization: `Bearer ${RUNTIME}` })).toBeDefined();
    expect(knock({ intercepted: true, authorization: `Bearer ${SECRET}` })).toBeUndefined();
    expect(knock({ intercepted: true, url: `/s/${SECRET}/x` })).toBeDefined();
    expect(new Gate(SECRET).admit({ url: "/x", authorization: "Bearer undefined", local: true, intercepted: true })).toBeUndefined();
  });

  it("admits nobody who guesses", () => {
    fc.assert(fc.property(fc.string(), fc.string(), (url, authorization) => {
      expect(knock({ url: `/${url}`, authorization })).toBeUndefined();
    }));
  });
});

import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Signer, urlKey, type SignedResource } from "./signing.ts";

const SECRET = Buffer.alloc(32, 7);
const signer = new Signer([SECRET]);

function parsed(query: string): { se: string; sig: string } {
  const parameters = new URLSearchParams(query);
  return { se: parameters.get("se")!, sig: parameters.get("sig")! };
}

const text = fc.stringMatching(/^[ -~]{0,20}$/);
const resource: fc.Arbitrary<SignedResource> = fc.record({ op: fc.constantFrom("read", "write"), cache: text, id: text, actor: text });

describe("a signature", () => {
  afterEach(() => void vi.useRealTimers());

  test("is good for exactly what it was made for", () => {
    fc.assert(
      fc.property(resource, resource, fc.integer({ min: 1, max: 10_000 }), (one, other, lifetime) => {
        const { se, sig } = parsed(signer.sign(one, lifetime));
        expect(signer.verify(one, se, sig)).toBe(Number(se) * 1000);
        const same = JSON.stringify(one) === JSON.stringify(other);
        expect(signer.verify(other, se, sig) !== undefined).toBe(same);
        for (const part of ["op", "cache", "id", "actor"] as const) {
          const changed = { ...one, [part]: part === "op" ? (one.op === "read" ? "write" : "read") : `${one[part]}x` } as SignedResource;
          expect(signer.verify(changed, se, sig), part).toBeUndefined();
        }
      }),
      { numRuns: 300 },
    );
  });

  test("does not stand for parts that were moved between fields", () => {
    const { se, sig } = parsed(signer.sign({ op: "read", cache: "ab", id: "c", actor: "d" }, 60));
    expect(signer.verify({ op: "read", cache: "a", id: "bc", actor: "d" }, se, sig)).toBeUndefined();
    expect(signer.verify({ op: "read", cache: "ab", id: "cd", actor: "" }, se, sig)).toBeUndefined();
  });

  test("fails with any other time or any changed character", () => {
    const one: SignedResource = { op: "read", cache: "default", id: "17", actor: "key:a" };
    const { se, sig } = parsed(signer.sign(one, 60));
    expect(signer.verify(one, String(Number(se) + 1), sig)).toBeUndefined();
    expect(signer.verify(one, `0${se}`, sig)).toBeUndefined();
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (let i = 0; i < sig.length; i++) {
      // The neighbours differ in the lowest bits, which a decoder drops from the last character.
      for (const step of [1, 2, 63]) {
        const other = alphabet[(alphabet.indexOf(sig[i]!) + step) % 64]!;
        expect(signer.verify(one, se, sig.slice(0, i) + other + sig.slice(i + 1))).toBeUndefined();
      }
    }
    for (const wrong of [`${sig}=`, `${sig}A`, sig.slice(0, -1), ` ${sig}`, "", undefined, [sig], 5]) expect(signer.verify(one, se, wrong)).toBeUndefined();
    for (const wrong of ["", "x", "-1", "1e9", " 1", `${se}.0`, undefined, [se], Number(se), "9".repeat(13)]) expect(signer.verify(one, wrong, sig)).toBeUndefined();
  });

  test("ends with its time", () => {
    vi.useFakeTimers({ now: 1_700_000_000_500, toFake: ["Date"] });
    const one: SignedResource = { op: "write", cache: "default", id: "x", actor: "key:a" };
    const { se, sig } = parsed(signer.sign(one, 60));
    expect(Number(se)).toBe(1_700_000_060);
    vi.setSystemTime(1_700_000_059_999);
    expect(signer.verify(one, se, sig)).toBe(1_700_000_060_000);
    vi.setSystemTime(1_700_000_060_000);
    expect(signer.verify(one, se, sig)).toBeUndefined();
  });

  test("of another secret is worth nothing", () => {
    const one: SignedResource = { op: "read", cache: "default", id: "1", actor: "key:a" };
    const { se, sig } = parsed(new Signer([Buffer.alloc(32, 8)]).sign(one, 60));
    expect(signer.verify(one, se, sig)).toBeUndefined();
  });

  test("of a secret that is on its way out is good until that is gone", () => {
    const one: SignedResource = { op: "read", cache: "default", id: "1", actor: "key:a" };
    const [first, second] = [urlKey("a".repeat(32)), urlKey("b".repeat(32))];
    const rotated = new Signer([first]);
    const { se, sig } = parsed(rotated.sign(one, 60));
    rotated.use([second, first]);
    expect(rotated.verify(one, se, sig)).toBeDefined();
    const next = parsed(rotated.sign(one, 60));
    rotated.use([second]);
    expect(rotated.verify(one, se, sig)).toBeUndefined();
    expect(rotated.verify(one, next.se, next.sig)).toBeDefined();
  });
});

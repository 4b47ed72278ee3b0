import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WireError } from "../wire.ts";
import { parseCachixPin, parseKeep } from "./pin-wire.ts";

const STORE = "/nix/store";
const storePath = `${STORE}/${"0".repeat(32)}-app`;
const pin = { name: "release", storePath, artifacts: ["bin/app"], keep: null };

describe("a pin of Cachix's client", () => {
  it.each([
    [null, undefined],
    [undefined, undefined],
    [{ tag: "Days", contents: 30 }, { days: 30 }],
    [{ tag: "Revisions", contents: 3 }, { revisions: 3 }],
    [{ tag: "Forever" }, "forever"],
  ])("that is to keep %o is read", (keep, expected) => {
    expect(parseCachixPin({ ...pin, keep }, STORE)).toEqual({ name: "release", storePath: `${"0".repeat(32)}-app`, artifacts: ["bin/app"], keep: expected });
  });

  it.each([
    { name: "" }, { name: "/etc" }, { name: "a\u0007b" }, { name: "x".repeat(201) }, { name: 7 },
    { storePath: `/gnu/store/${"0".repeat(32)}-app` }, { storePath: `${STORE}/app` }, { storePath: `${storePath}/bin` },
    { artifacts: ["/bin/app"] }, { artifacts: ["a/../b"] }, { artifacts: [""] }, { artifacts: Array.from({ length: 101 }, () => "a") }, { artifacts: "bin" },
    { keep: { tag: "Days", contents: 0 } }, { keep: { tag: "Days", contents: 1.5 } }, { keep: { tag: "Revisions", contents: 401 } }, { keep: { tag: "Weeks" } }, { keep: "Forever" },
  ])("with %o is refused", (wrong) => {
    expect(() => parseCachixPin({ ...pin, ...wrong }, STORE)).toThrow(WireError);
  });

  it("of any form is read or refused, never anything else", () => {
    const field = fc.oneof(fc.anything(), fc.constantFrom(...Object.values(pin), { tag: "Days", contents: 2 }));
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.record({ name: field, storePath: field, artifacts: field, keep: field })), (value) => {
        for (const parse of [() => parseCachixPin(value, STORE), () => parseKeep(value)]) {
          try {
            parse();
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        }
      }),
    );
  });
});

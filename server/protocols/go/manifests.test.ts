import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatManifest, merged, parseManifest, type Listed } from "./manifests.ts";

const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(64)) as [string, string, string];

describe("a manifest", () => {
  it("lists what this build used first, in its order, each once", () => {
    expect(merged([b, a, b], [{ action: c, unused: 0 }])).toEqual([{ action: b, unused: 0 }, { action: a, unused: 0 }, { action: c, unused: 1 }]);
  });

  it("gives an action up that three builds in a row did not use", () => {
    let listed = merged([a, b], []);
    for (let build = 1; build <= 2; build++) {
      listed = merged([a], listed);
      expect(listed).toContainEqual({ action: b, unused: build });
    }
    expect(merged([a], listed)).toEqual([{ action: a, unused: 0 }]);
  });

  it("comes back as it was stored", () => {
    const item = fc.record({ action: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex")), unused: fc.nat(2) });
    fc.assert(fc.property(fc.array(item, { maxLength: 30 }), (listed: Listed[]) => { expect(parseManifest(formatManifest(listed))).toEqual(listed); }));
  });
});

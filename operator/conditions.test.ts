import { describe, expect, test } from "vitest";
import { CONDITIONS, stamp, verdict } from "./conditions.ts";

describe("the table of conditions", () => {
  test("has each reason of a type once, as the API server takes it, with a text for people", () => {
    const ids = CONDITIONS.map(({ kind, type, reason }) => `${kind} ${type} ${reason}`);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { reason, type, text } of CONDITIONS) {
      expect(reason).toMatch(/^[A-Z][A-Za-z]{2,60}$/);
      expect(type).toMatch(/^[A-Z][A-Za-z]{2,40}$/);
      expect(text).toMatch(/^\S.{10,240}[.]$/);
    }
  });
});

describe("a condition", () => {
  const before = { type: "Ready", status: "False" as const, reason: "Starting", message: "", lastTransitionTime: "2026-01-01T00:00:00Z", observedGeneration: 1 };
  const now = Date.parse("2026-03-01T00:00:00Z");

  test("keeps its time while its status stays, whatever its reason", () => {
    expect(stamp([verdict("CacheServer", "Ready", "ReplicasMissing", "1 of 2")], [before], 2, now)).toEqual([{ ...before, reason: "ReplicasMissing", message: "1 of 2", observedGeneration: 2 }]);
    expect(stamp([verdict("CacheServer", "Ready", "Available")], [before], 2, now)[0]).toMatchObject({ status: "True", lastTransitionTime: "2026-03-01T00:00:00Z" });
  });

  test("has a message of bounded length", () => expect(verdict("CacheServer", "Degraded", "ApplyRefused", "x".repeat(5000)).message).toHaveLength(1000));
});

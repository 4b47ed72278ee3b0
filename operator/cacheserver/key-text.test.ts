import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { isWellFormedKey } from "../../server/identity/key-format.ts";
import { newKey, newSecret } from "./key-text.ts";

test("keys are of the form the server gives its own", () => {
  for (const permission of ["admin", "write", "read"] as const) {
    const keys = Array.from({ length: 20 }, () => newKey(permission, randomBytes));
    expect(keys.every(isWellFormedKey)).toBe(true);
    expect(new Set(keys).size).toBe(20);
  }
});

test("signing secrets are long enough for the server, and one line", () => expect(newSecret(randomBytes)).toMatch(/^[!-~]{43}$/));

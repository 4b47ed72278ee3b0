import { expect, test } from "vitest";
import { step } from "./step.ts";

test("a statement without one of its values never reaches a driver", () => {
  expect(() => step("SELECT id FROM blobs WHERE id = ?1", undefined as never)).toThrow("value 1 is missing");
  expect(step("SELECT id FROM blobs WHERE id = ?1 AND store = ?2", 1, null).values).toEqual([1, null]);
});

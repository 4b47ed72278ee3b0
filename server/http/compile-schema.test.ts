import Type, { type TSchema } from "typebox";
import { expect, test } from "vitest";
import { strict } from "../admin/schema.ts";
import { compileSchema } from "./compile-schema.ts";

function check(schema: TSchema, httpPart: string, value: unknown): { value?: unknown; error?: Error } {
  return compileSchema({ schema, httpPart, method: "GET", url: "/" })(value) as { value?: unknown; error?: Error };
}

const Query = strict({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })), dryRun: Type.Optional(Type.Boolean()), name: Type.Optional(Type.String()) });

test("texts of a query become numbers and flags, and what is missing its default", () => {
  expect(check(Query, "querystring", { dryRun: "true", name: "1" })).toEqual({ value: { limit: 100, dryRun: true, name: "1" } });
  expect(check(Query, "querystring", { limit: "7" })).toEqual({ value: { limit: 7 } });
});

test("JSON is taken as it is", () => {
  expect(check(Query, "body", { limit: "7" }).error?.message).toBe("body/limit must be integer");
});

test("no body is one without fields", () => {
  expect(check(Query, "body", null)).toEqual({ value: { limit: 100 } });
  expect(check(strict({ name: Type.String() }), "body", null).error?.message).toContain("required properties name");
});

test("a field nobody knows is refused by name", () => {
  expect(check(Query, "querystring", { limit: "7", keysapce: "go" }).error?.message).toBe('querystring has no field "keysapce"');
});

test("a value given twice is refused where one is meant", () => {
  expect(check(Query, "querystring", { name: ["a", "b"] }).error).toBeInstanceOf(Error);
});

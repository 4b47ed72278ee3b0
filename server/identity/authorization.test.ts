import fc from "fast-check";
import { expect, test } from "vitest";
import { tokenOf } from "./authorization.ts";

const basic = (login: string, password: string) => `Basic ${Buffer.from(`${login}:${password}`).toString("base64")}`;
const word = fc.stringMatching(/^[!-9;-~]{1,60}$/);

test.each([
  ["Bearer", "Bearer abc"],
  ["Bearer in any case", "bEaReR abc"],
  ["Bearer after two spaces", "Bearer  abc"],
  ["Basic password with a login", basic("anybody", "abc")],
  ["Basic password without a login", basic("", "abc")],
  ["Basic in any case", basic("anybody", "abc").replace("Basic", "BASIC")],
  ["Basic login with an empty password", basic("abc", "")],
  ["Basic login with x-oauth-basic", basic("abc", "x-oauth-basic")],
])("%s carries the token", (_, header) => {
  expect(tokenOf(header)).toBe("abc");
});

test("a Basic login is not the token when there is a password", () => {
  expect(tokenOf(basic("stow_rw_key", "other"))).toBe("other");
});

test("a password keeps its colons", () => {
  expect(tokenOf(basic("anybody", "a:b:c"))).toBe("a:b:c");
});

test.each(["Bearer", "Bearer ", "Basic", basic("", ""), basic("", "x-oauth-basic")])("%j carries no token", (header) => {
  expect(tokenOf(header)).toBeUndefined();
});

test.each(["", "abc", "abc def", "Bearer one two", "Bearer a,b c", "Token abc", "Digest username=x", "Basic !!!", "Basic YWJj", "Basic YQ== x", "Bearer\u00a0abc def"])("%j is refused", (header) => {
  expect(() => tokenOf(header)).toThrow(expect.objectContaining({ code: "STOW_UNAUTHORIZED" }));
});

test("any token comes through in each form", () => {
  fc.assert(
    fc.property(word, word, (token, login) => {
      fc.pre(token !== "x-oauth-basic");
      return [`Bearer ${token}`, basic(login, token), basic(token, ""), basic(token, "x-oauth-basic")].every((header) => tokenOf(header) === token);
    }),
  );
});

test("any other header is refused or carries one token without spaces in it", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string().map((text) => `Bearer ${text}`), fc.string().map((text) => `Basic ${text}`)), (header) => {
      try {
        const token = tokenOf(header);
        return token === undefined || token.length > 0;
      } catch (error) {
        return (error as { code: string }).code === "STOW_UNAUTHORIZED";
      }
    }),
  );
});

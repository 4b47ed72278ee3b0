import fc from "fast-check";
import { expect, test } from "vitest";
import { netrcEntry } from "./netrc.ts";

const FILE = `# of the team
machine cache.example.com
  login ci
  password s3cr#t
machine spaced.example.com login "a b" password "q\\"uote\\\\d" # not "this"
macdef init
machine trap.example.com login x password y

machine short.example.com password only-a-token
default login anonymous password guest
`;

test.each([
  ["cache.example.com", { login: "ci", password: "s3cr#t" }],
  ["spaced.example.com", { login: "a b", password: 'q"uote\\d' }],
  ["short.example.com", { login: "", password: "only-a-token" }],
  ["trap.example.com", { login: "anonymous", password: "guest" }],
  ["else.example.com", { login: "anonymous", password: "guest" }],
])("the entry for %s", (host, entry) => {
  expect(netrcEntry(FILE, host)).toEqual(entry);
});

test("a host nobody names has none, and neither has a host inside another's name", () => {
  expect(netrcEntry("machine a.example.com login x password y", "b.example.com")).toBeUndefined();
  expect(netrcEntry("machine a.example.com login x password y", "example.com")).toBeUndefined();
});

test("a word where a value belongs is that value", () => {
  expect(netrcEntry("machine a login machine password default\nmachine b login x password y", "a")).toEqual({ login: "machine", password: "default" });
});

test("whatever a file holds, nothing is thrown", () => {
  fc.assert(fc.property(fc.string(), fc.string(), (text, host) => void netrcEntry(text, host)));
});

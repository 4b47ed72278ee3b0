import { describe, expect, test } from "vitest";
import { guardedLookup, NOWHERE, reachOf, type Reach } from "./address.ts";

test.each([
  ["8.8.8.8", 0], ["2606:4700::1", 0], ["10.1.2.3", 1], ["172.31.255.255", 1], ["192.168.0.1", 1], ["100.64.0.1", 1], ["fd00::1", 1],
  ["127.0.0.1", 2], ["127.8.8.8", 2], ["::1", 2], ["::ffff:127.0.0.1", 2], ["::ffff:7f00:1", 2], ["::ffff:a9fe:a9fe", NOWHERE], ["::ffff:10.0.0.1", 1],
  ["169.254.169.254", NOWHERE], ["::ffff:169.254.169.254", NOWHERE], ["fe80::1", NOWHERE], ["fe80::1%eth0", NOWHERE], ["0.0.0.0", NOWHERE], ["::", NOWHERE],
  ["224.0.0.1", NOWHERE], ["255.255.255.255", NOWHERE], ["64:ff9b::a9fe:a9fe", NOWHERE], ["2002:a9fe:a9fe::1", NOWHERE], ["", NOWHERE], ["cache.example.com", NOWHERE],
])("%s is at reach %s", (address, reach) => {
  expect(reachOf(address)).toBe(reach);
});

describe("names are resolved only to what is allowed", () => {
  const lookup = (allowed: Reach) =>
    new Promise<unknown>((resolve, reject) => {
      guardedLookup(() => allowed)("localhost", { all: true }, (error, found) => (error ? reject(error) : resolve(found)));
    });

  test("this machine's own name for an upstream on this machine", async () => {
    expect(await lookup(2)).not.toEqual([]);
  });

  test("and not for one outside", async () => {
    await expect(lookup(0)).rejects.toThrow("private address");
    await expect(lookup(1)).rejects.toThrow("private address");
  });
});

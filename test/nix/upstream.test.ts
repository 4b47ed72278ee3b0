import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NixUpstream, type Fault } from "../fixtures/nix-upstream.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { NixRig } from "./nix.ts";
import { newerNix } from "./tools.ts";

/** A cache of its own for each, in which nothing is known yet. */
const rows: [name: string, match: string, fault: Fault, first: "passes" | "may fail"][] = [
  ["narinfo 500", "narinfo", { status: 500 }, "passes"],
  ["narinfo 403", "narinfo", { status: 403 }, "passes"],
  ["narinfo hang", "narinfo", "hang", "passes"],
  ["narinfo reset", "narinfo", "reset", "passes"],
  ["NAR 500", "/nar/", { status: 500 }, "passes"],
  ["NAR 503", "/nar/", { status: 503 }, "passes"],
  ["NAR truncated", "/nar/", "truncate", "passes"],
  ["NAR hang", "/nar/", "hang", "passes"],
  ["NAR hang in the middle", "/nar/", "hang-middle", "passes"],
  ["NAR reset", "/nar/", "reset", "passes"],
  // What was sent before the fault was seen can't be taken back; nothing of it is kept.
  ["NAR byte flipped", "/nar/", "flip", "may fail"],
];

describe.each([["Debian's", async () => undefined], ["a current", newerNix]])("%s Nix", (_, root) => {
  let a: NixUpstream;
  let b: NixUpstream;
  let rig: NixRig;
  let server: TestServer;
  let key: string;
  let top: string;
  let self: string;
  let large: string;

  beforeAll(async () => {
    rig = new NixRig(await root());
    [a, b] = await Promise.all([new NixUpstream().start(), new NixUpstream().start()]);
    const secret = path.join(rig.home, "up");
    await done(rig.run("nix-store", "--generate-binary-cache-key", "up-1", `${secret}.sec`, `${secret}.pub`));
    key = readFileSync(`${secret}.pub`, "utf8").trim();
    [top, self, large] = (await rig.build("top", "self", "large")) as [string, string, string];
    const folder = path.join(rig.home, "upstream");
    mkdirSync(folder);
    await done(rig.run("nix", "copy", "--to", `file://${folder}?compression=zstd&secret-key=${secret}.sec`, top, self, large));
    for (const upstream of [a, b]) {
      for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        if (file.isFile()) upstream.file(`/${path.relative(folder, path.join(file.parentPath, file.name))}`, readFileSync(path.join(file.parentPath, file.name)));
      }
    }
    const settings = (upstream: NixUpstream, more = {}) => ({ url: upstream.url, trustedKeys: [key], firstByteTimeout: "2s", stallTimeout: "2s", ...more });
    const both = { a: settings(a), b: settings(b) };
    const secured = { a: settings(a, { credentials: { netrc: rig.netrc("upstreams-password") } }) };
    server = await startServer({
      config: {
        caches: Object.fromEntries(["two", "wrong", "secured", ...rows.map((_, i) => `row-${i}`)].map((name) => [name, { anonymousRead: true }])),
        protocols: {
          nix: {
            proxy: { failures: 1000, missing: "0" },
            caches: { ...Object.fromEntries(rows.map((_, i) => [`row-${i}`, { upstreams: { a: settings(a) } }])), two: { upstreams: both }, wrong: { upstreams: { a: settings(a, { trustedKeys: ["up-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] }) } }, secured: { upstreams: secured } },
          },
        },
      },
    });
  });
  afterAll(async () => {
    await server.stop();
    await Promise.all([a.stop(), b.stop()]);
    await rig.remove();
  });

  async function done(running: ReturnType<NixRig["run"]>): Promise<string> {
    const { code, said } = await running;
    expect(said).toSatisfy(() => code === 0);
    return said;
  }

  /** Into a clean store, trusting the upstream's key alone. */
  const pull = (cache: string, ...paths: string[]) => {
    const store = rig.store();
    const running = rig.run("nix", "copy", "--from", `${server.url}/nix/${cache}`, "--to", store, "--option", "trusted-public-keys", key, "--option", "narinfo-cache-negative-ttl", "3600", ...paths);
    return { store, running };
  };

  const whole = (store: string, of: string) => readFileSync(path.join(store, of)).equals(readFileSync(rig.at(of)));

  describe("a closure of an upstream", () => {
    test("comes cold and warm, with the upstream's signatures, and is fetched once", async () => {
      for (let round = 0; round < 2; round++) {
        a.requests.length = 0;
        const { store, running } = pull("two", top, self);
        await done(running);
        expect(readFileSync(path.join(store, top, "both"), "utf8")).toBe(readFileSync(rig.at(path.join(top, "both")), "utf8"));
        await done(rig.run("nix-store", "--verify", "--check-contents", "--store", store));
        const nars = a.requests.filter((line) => line.includes("/nar/"));
        expect(new Set(nars).size).toBe(nars.length);
        expect(nars.length).toBe(round === 0 ? 4 : 0);
      }
    });

    test("is not there where another key is trusted", async () => {
      const { code, said } = await pull("wrong", self).running;
      expect(code).not.toBe(0);
      expect(said).toMatch(/does not exist|not valid|no substituter/i);
    });

    test("comes from an upstream that wants to see a credential", async () => {
      a.authorization = `Basic ${Buffer.from("ci:upstreams-password").toString("base64")}`;
      await done(pull("secured", self).running);
      a.authorization = undefined;
    });
  });

  /** What Nix makes of it, at its first try and at its second: nix.md §6.2. */
  describe("a fault of the only upstream, once", () => {
    test.each(rows.map((row, i) => [...row, `row-${i}`] as const))("%s", async (_, match, fault, first, cache) => {
      a.fail(match, fault, 1);
      const tried = pull(cache, large);
      const { code } = await tried.running;
      a.heal();
      if (first === "passes") expect(code).toBe(0);
      const again = pull(cache, large);
      await done(again.running);
      expect(whole(again.store, large)).toBe(true);
    });
  });

  test("everything that was pulled is there with all upstreams gone", async () => {
    await done(pull("two", top, self).running);
    await Promise.all([a.stop(), b.stop()]);
    await done(pull("two", top, self).running);
  });
});

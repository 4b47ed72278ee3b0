import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { NixUpstream, pathNamed, testKey, upstreamSettings, type Fault, type UpstreamChanges } from "../../../../test/fixtures/nix-upstream.ts";
import { UpstreamMetrics } from "./metrics.ts";
import { Narinfos } from "./narinfos.ts";
import { Upstream } from "./upstream.ts";

let a: NixUpstream;
let b: NixUpstream;
beforeEach(async () => {
  [a, b] = await Promise.all([new NixUpstream().start(), new NixUpstream().start()]);
});
afterEach(() => Promise.all([a.stop(), b.stop()]));

function asking(first: UpstreamChanges = {}, second?: UpstreamChanges, options: { hedge?: number; failures?: number; pause?: number } = {}) {
  const breaker = { failures: options.failures ?? 5, pause: options.pause ?? 60_000 };
  const upstreams = [new Upstream("a", upstreamSettings(a.url, first), breaker)];
  if (second) upstreams.push(new Upstream("b", upstreamSettings(b.url, second), breaker));
  onTestFinished(() => upstreams.forEach((upstream) => upstream.close()));
  const registry = new Registry();
  const narinfos = new Narinfos({ cache: "default", storeDir: "/nix/store", upstreams, hedge: options.hedge ?? 50, missing: 60_000, metrics: new UpstreamMetrics(registry) });
  return { narinfos, upstreams, registry };
}

const outcome = (narinfos: Narinfos, hash: string) => narinfos.find(hash).then((found) => (found ? `hit at ${found.upstream.name}` : "missing"), (error: { code: string; retryAfter?: number }) => `${error.code} ${error.retryAfter}`);
const path = pathNamed("hello-2.12");

test("what an upstream has is found, parsed and verified", async () => {
  a.add(path);
  const found = await asking().narinfos.find(path.hash);
  expect(found!.info).toEqual(path.info);
});

const SILENT: [string, Fault][] = [["500", { status: 500 }], ["503", { status: 503 }], ["403", { status: 403 }], ["429", { status: 429 }], ["401", { status: 401 }], ["silence", "hang"], ["silence after the head", "hang-body"],
  ["half of it", "truncate"], ["half of it, cleanly", "short"], ["a page that says 200", { status: 200, body: "<html>log in</html>" }], ["nothing", { status: 200 }]];

describe.each(SILENT)("an upstream that answers with %s", (_, fault) => {
  test("alone: nobody can say, so it is 503 and never a miss; and the next question goes out again", async () => {
    a.add(path);
    a.fail("narinfo", fault, 1);
    const { narinfos } = asking();
    expect(await outcome(narinfos, path.hash)).toBe("STOW_UPSTREAM_UNAVAILABLE 5");
    expect(await outcome(narinfos, path.hash)).toBe("hit at a");
  });

  test("beside one that has it: that one's is taken", async () => {
    b.add(path);
    a.fail("narinfo", fault);
    expect(await outcome(asking({}, {}).narinfos, path.hash)).toBe("hit at b");
  });

  test("beside one that says no: still nobody can say", async () => {
    a.add(path);
    a.fail("narinfo", fault);
    const { narinfos } = asking({}, {});
    expect(await outcome(narinfos, path.hash)).toBe("STOW_UPSTREAM_UNAVAILABLE 5");
    a.heal();
    a.remove(`/${path.hash}.narinfo`);
    expect(await outcome(narinfos, path.hash)).toBe("missing");
  });
});

test("a connection that is reset is tried once more", async () => {
  a.add(path);
  a.fail("narinfo", "reset", 1);
  expect(await outcome(asking().narinfos, path.hash)).toBe("hit at a");
});

test("an upstream that is down is no miss either", async () => {
  const { narinfos } = asking({}, {});
  await a.stop();
  expect(await outcome(narinfos, path.hash)).toBe("STOW_UPSTREAM_UNAVAILABLE 5");
});

test("a miss is certain when every upstream says so, by 404 or 410, and is remembered for each", async () => {
  b.fail("narinfo", { status: 410 });
  const { narinfos } = asking({}, {});
  expect(await outcome(narinfos, path.hash)).toBe("missing");
  a.add(path);
  expect(await outcome(narinfos, path.hash)).toBe("missing");
  expect([a.count(path.hash), b.count(path.hash)]).toEqual([1, 1]);
});

test("403 is a miss where the upstream is said to mean that", async () => {
  a.fail("narinfo", { status: 403 });
  expect(await outcome(asking({ forbiddenIsMissing: true }).narinfos, path.hash)).toBe("missing");
});

test("a slow upstream costs no more than the hedge", async () => {
  a.add(path);
  b.add(path);
  a.delay = 10_000;
  const started = performance.now();
  expect(await outcome(asking({ firstByteTimeout: 60_000 }, {}).narinfos, path.hash)).toBe("hit at b");
  expect(performance.now() - started).toBeLessThan(2_000);
});

describe("the breaker", () => {
  test("an upstream that fails again and again is not asked any more, and says when it will be", async () => {
    a.fail("narinfo", { status: 500 });
    const { narinfos, upstreams, registry } = asking({}, undefined, { failures: 3 });
    for (let i = 0; i < 3; i++) await outcome(narinfos, path.hash);
    expect(upstreams[0]!.breaker.open).toBe(true);
    expect(await outcome(narinfos, path.hash)).toBe("STOW_UPSTREAM_UNAVAILABLE 60");
    expect(a.requests).toHaveLength(3);
    expect(await registry.metrics()).toContain('stowhouse_upstream_open{cache="default",upstream="a"} 1');
  });

  test("one question tries again, and closes it", async () => {
    a.fail("narinfo", { status: 500 }, 1);
    a.add(path);
    const { narinfos, registry } = asking({}, undefined, { failures: 1, pause: 30 });
    await outcome(narinfos, path.hash);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(await outcome(narinfos, path.hash)).toBe("hit at a");
    expect(await registry.metrics()).toContain('stowhouse_upstream_open{cache="default",upstream="a"} 0');
  });

  test("misses and quicker others don't open it", async () => {
    b.add(path);
    a.delay = 60;
    const { narinfos, upstreams } = asking({}, {}, { failures: 1, hedge: 10 });
    await outcome(narinfos, path.hash);
    await outcome(narinfos, pathNamed("other").hash);
    expect(upstreams.map(({ breaker }) => breaker.open)).toEqual([false, false]);
  });
});

describe("signatures", () => {
  test.each([
    ["no signature", pathNamed("unsigned", { key: null })],
    ["another key's signature", pathNamed("foreign", { key: testKey("other-1") })],
    ["a signature by another key of the same name", pathNamed("forged", { key: null, info: { signatures: [testKey("other-1").sign("x").replace("other-1", "upstream-1")] } })],
    ["a content address and no signature", pathNamed("addressed", { key: null, info: { ca: "fixed:r:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s" } })],
  ])("what has %s is not there", async (_, unsigned) => {
    a.add(unsigned);
    expect(await outcome(asking().narinfos, unsigned.hash)).toBe("missing");
  });

  test("one of several keys is enough, and every upstream has its own", async () => {
    const other = pathNamed("other", { key: testKey("b-1") });
    a.add(other);
    b.add(other);
    expect(await outcome(asking({}, { trustedKeys: [testKey("x-1").public.text, testKey("b-1").public.text] }).narinfos, other.hash)).toBe("hit at b");
  });

  test("the narinfo of another path is no answer", async () => {
    a.file(`/${path.hash}.narinfo`, Buffer.from("StorePath: /nix/store/00000000000000000000000000000000-x\n"));
    expect(await outcome(asking().narinfos, path.hash)).toBe("STOW_UPSTREAM_UNAVAILABLE 5");
  });

  test("a key that is none is refused at once", () => {
    expect(() => asking({ trustedKeys: ["upstream-1"] })).toThrow("protocols.nix.caches.default.upstreams.a.trustedKeys");
  });
});

test("what is denied, or not among what is allowed, is not there", async () => {
  a.add(path);
  expect(await outcome(asking({ deny: ["hello-*"] }).narinfos, path.hash)).toBe("missing");
  expect(await outcome(asking({ allow: ["gcc-*"] }).narinfos, path.hash)).toBe("missing");
  expect(await outcome(asking({ allow: ["gcc-*", "hello-*"], deny: ["*-dev"] }).narinfos, path.hash)).toBe("hit at a");
});

test("an uncompressed NAR is its own file, whatever is left out", async () => {
  const bare = pathNamed("bare", { info: { compression: "none", fileHash: undefined, fileSize: undefined }, url: "nar/bare.nar?hash=1" });
  a.add(bare);
  expect((await asking().narinfos.find(bare.hash))!.info).toMatchObject({ fileHash: bare.info.narHash, fileSize: bare.info.narSize });
});

import { createHash, hash } from "node:crypto";
import { brotliCompressSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../../test/fixtures/app.ts";
import { testPath } from "../../../../test/fixtures/nix.ts";
import { NixUpstream, pathNamed, testKey, type Path } from "../../../../test/fixtures/nix-upstream.ts";
import { nix } from "../index.ts";
import { parsePublicKey } from "../keys.ts";
import { formatRealisation, parseRealisation, realisationFingerprint, type Realisation, type RealisationId } from "../realisation.ts";
import { MAX_PULLED } from "./wanted.ts";

const signer = testKey("upstream-1");

/** Things of one name, which no other test has. */
function thing(name: string) {
  const path: Path = pathNamed(name);
  const id = { form: "hash", id: `sha256:${createHash("sha256").update(name).digest("hex")}!out` } as const;
  const trace = { form: "trace", drvPath: `${path.hash}-${name}.drv`, outputName: "out" } as const;
  const targets = { listing: `/${path.hash}.ls`, log: `/log/${path.hash}-${name}.drv`, realisation: `/realisations/${id.id}.doi`, trace: `/build-trace-v2/${trace.drvPath}/out.doi` };
  return { path, id, trace, targets };
}
type Thing = ReturnType<typeof thing>;

function signed(of: RealisationId, outPath: string, key = signer): Buffer {
  const bare: Realisation = { id: of, outPath, dependencies: {}, signatures: [] };
  return Buffer.from(formatRealisation({ ...bare, signatures: [key.sign(realisationFingerprint(bare))] }));
}

/** Everything an upstream can have of it. */
function fill(on: NixUpstream, { path, id, trace, targets }: Thing): void {
  on.add(path);
  on.file(targets.listing, Buffer.from('{"version":1,"root":{}}'));
  on.file(targets.log, Buffer.from("building\n"));
  on.file(targets.realisation, signed(id, path.info.storePath));
  on.file(targets.trace, signed(trace, path.info.storePath));
}

let a: NixUpstream;
let b: NixUpstream;
let app: TestApp;
let url: string;
beforeAll(async () => {
  [a, b] = await Promise.all([new NixUpstream().start(), new NixUpstream().start()]);
  const trustedKeys = [signer.public.text];
  const upstreams = { a: { url: a.url, trustedKeys }, b: { url: b.url, trustedKeys } };
  const open = { anonymousRead: true };
  app = await startApp({
    caches: { default: open, hasty: open, choosy: open, tight: open },
    protocols: {
      nix: {
        proxy: { hedge: "1s", failures: 1000 },
        caches: {
          default: { upstreams }, tight: { upstreams }, hasty: { upstreams: { a: { ...upstreams.a, firstByteTimeout: "200ms", stallTimeout: "200ms" }, b: upstreams.b } },
          choosy: { upstreams: { a: { ...upstreams.a, deny: ["denied-*"] } } },
        },
      },
    },
  }, [nix]);
  url = await app.listen();
});
afterAll(async () => {
  await app.close();
  await Promise.all([a.stop(), b.stop()]);
});

const get = (target: string, cache = "default") => fetch(`${url}/nix/${cache}${target}`);
async function status(target: string, cache?: string): Promise<number> {
  const answer = await get(target, cache);
  await answer.arrayBuffer();
  return answer.status;
}
const put = async (target: string, body: Buffer | string) => (await fetch(`${url}/nix/default${target}`, { method: "PUT", headers: { authorization: `Bearer ${KEYS.write}` }, body: new Uint8Array(Buffer.from(body)) })).status;

describe.each(["listing", "log", "realisation", "trace"] as const)("an upstream's %s", (kind) => {
  test("is served, asked for once, and kept while the upstream is away", async () => {
    const some = thing(`kept-${kind}`);
    const target = some.targets[kind];
    fill(a, some);
    const first = await get(target);
    expect(first.status).toBe(200);
    const text = await first.text();
    a.fail(some.path.hash, "reset");
    a.fail(target, "reset");
    const second = await get(target);
    expect([second.status, await second.text()]).toEqual([200, text]);
    expect(second.headers.get("etag")).not.toBeNull();
    a.heal();
    expect(a.count(target)).toBe(1);
  });

  test("is 404 when every upstream says so, and nobody is asked again for a while", async () => {
    const { path, targets } = thing(`missing-${kind}`);
    a.add(path);
    expect([await status(targets[kind]), await status(targets[kind])]).toEqual([404, 404]);
    expect([a.count(targets[kind]), b.count(targets[kind])]).toEqual([1, 1]);
  });

  test.each([["an error", { status: 500 }], ["403", { status: 403 }], ["silence", "hang"], ["half of it", "truncate"]] as const)("is 503 with Retry-After when one of them could not say: %s", async (what, fault) => {
    const some = thing(`${what.replaceAll(" ", "-")}-${kind}`);
    const target = some.targets[kind];
    fill(a, some);
    a.fail(target, fault);
    const answer = await get(target, "hasty");
    await answer.arrayBuffer();
    expect([answer.status, answer.headers.has("retry-after")]).toEqual([503, true]);
    a.heal();
    expect(await status(target)).toBe(200);
  });

  test("comes from the one that has it while another fails", async () => {
    const some = thing(`of-b-${kind}`);
    fill(b, some);
    a.fail(some.targets[kind], { status: 500 });
    expect(await status(some.targets[kind])).toBe(200);
    a.heal();
  });

  test("is what the cache itself has, where it has one", async () => {
    const some = thing(`own-${kind}`);
    const target = some.targets[kind];
    fill(a, some);
    const own = kind === "realisation" ? signed(some.id, some.path.info.storePath) : kind === "trace" ? signed(some.trace, some.path.info.storePath) : '{"own":1}';
    expect(await put(target, own)).toBe(204);
    expect(await status(target)).toBe(200);
    expect(a.count(target)).toBe(0);
  });

  test("is asked for once by many at a time", async () => {
    const some = thing(`many-${kind}`);
    fill(a, some);
    a.delay = 50;
    const answers = await Promise.all(Array.from({ length: 8 }, () => status(some.targets[kind])));
    a.delay = 0;
    expect(answers).toEqual(Array.from({ length: 8 }, () => 200));
    expect(a.count(some.targets[kind])).toBe(1);
  });
});

describe("a realisation", () => {
  test("gets the cache's signature beside the upstream's", async () => {
    const some = thing("signed");
    fill(a, some);
    const own = parsePublicKey((await (await get("/pubkey")).text()).trim());
    for (const [id, target] of [[some.id, some.targets.realisation], [some.trace, some.targets.trace]] as const) {
      for (const look of [1, 2]) {
        const realisation = parseRealisation(await (await get(target)).text(), id);
        for (const key of [own, signer.public]) expect(realisation.signatures.some((signature) => key.verifies(realisationFingerprint(realisation), signature)), `${look}`).toBe(true);
      }
    }
  });

  test("that no trusted key of that upstream has signed is none", async () => {
    const { path, id, targets } = thing("by-somebody");
    a.file(targets.realisation, signed(id, path.info.storePath, testKey("somebody-1")));
    a.file(targets.trace, Buffer.from(JSON.stringify({ outPath: path.info.storePath, signatures: [] })));
    expect([await status(targets.realisation), await status(targets.trace)]).toEqual([404, 404]);
  });

  test("that says another output than it is signed for is none", async () => {
    const { path, id, targets } = thing("changed");
    const genuine = JSON.parse(signed(id, path.info.storePath).toString()) as object;
    a.file(targets.realisation, Buffer.from(JSON.stringify({ ...genuine, outPath: pathNamed("evil").info.storePath })));
    expect(await status(targets.realisation)).toBe(404);
  });

  test("that is no realisation says nothing about whether there is one", async () => {
    const { targets } = thing("a-page");
    a.file(targets.realisation, Buffer.from("<html>"));
    expect(await status(targets.realisation)).toBe(503);
  });
});

describe("a listing", () => {
  test("of a path that no upstream has signed is not asked for", async () => {
    const { targets } = thing("unsigned");
    a.file(targets.listing, Buffer.from("{}"));
    expect(await status(targets.listing)).toBe(404);
    expect(a.count(targets.listing)).toBe(0);
  });

  test("of a path that was pushed here is not taken from elsewhere", async () => {
    const some = thing("pushed");
    fill(a, some);
    const own = testPath("mine", "mine", { storePath: some.path.info.storePath });
    expect(await put(`/${own.info.url}`, own.file)).toBe(204);
    expect(await put(`/${some.path.hash}.narinfo`, own.text)).toBe(204);
    expect(await status(some.targets.listing)).toBe(404);
  });

  test("is unpacked whether the upstream says how it is packed or not", async () => {
    const { path, targets } = thing("packed");
    a.add(path);
    const text = JSON.stringify({ version: 1, root: { type: "directory", entries: {} } });
    a.file(targets.listing, zstdCompressSync(Buffer.from(text)));
    a.file(targets.log, brotliCompressSync(Buffer.from("building\n")));
    a.fail(targets.log, { change: (_request, response, body) => void response.writeHead(200, { "content-encoding": "br", "content-length": body.length }).end(body) });
    expect(await (await get(targets.listing)).text()).toBe(text);
    expect(await (await get(targets.log)).text()).toBe("building\n");
    a.heal();
  });

  test("that is none says nothing about whether there is one", async () => {
    const { path, targets } = thing("it-works");
    a.add(path);
    a.file(targets.listing, Buffer.from("<html>It works!</html>"));
    expect(await status(targets.listing)).toBe(503);
  });
});

test.each([["as it comes", Buffer.alloc(MAX_PULLED + 1, "a")], ["unpacked", zstdCompressSync(Buffer.alloc(MAX_PULLED + 1, "a"))]])("what is too long %s is not taken, and is no failure of the upstream", async (how, body) => {
  const { targets } = thing(`long-${how.replaceAll(" ", "-")}`);
  a.file(targets.log, body);
  expect(await status(targets.log)).toBe(404);
});

test("a log of what is denied is not taken", async () => {
  const [denied, allowed] = [thing("denied-1.0"), thing("allowed-1.0")];
  for (const some of [denied, allowed]) fill(a, some);
  expect([await status(denied.targets.log, "choosy"), await status(allowed.targets.log, "choosy")]).toEqual([404, 200]);
});

test("debug information is not taken: it names NARs by where they lie there", async () => {
  const target = `/debuginfo/${"a".repeat(40)}`;
  a.file(target, Buffer.from(JSON.stringify({ archive: "../nar/x.nar", member: "x" })));
  expect(await status(target)).toBe(404);
});

test("a cache without room serves what it can't keep", async () => {
  const some = thing("no-room");
  fill(a, some);
  app.core.caches.set({ ...app.core.caches.require("tight"), quota: 1 });
  const answer = await get(some.targets.log, "tight");
  expect([answer.status, await answer.text()]).toEqual([200, "building\n"]);
  expect(answer.headers.get("etag")).toBe(`"${hash("sha256", "building\n")}"`);
});

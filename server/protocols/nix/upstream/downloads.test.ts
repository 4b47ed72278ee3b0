import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NixUpstream, pathNamed, upstreamSettings, type Path, type UpstreamChanges } from "../../../../test/fixtures/nix-upstream.ts";
import { Downloads, type Reader } from "./downloads.ts";
import { UpstreamMetrics } from "./metrics.ts";
import type { Place } from "./receive.ts";
import { Leisure } from "./leisure.ts";
import { SpoolSpace } from "./spool.ts";
import type { Transfer } from "./transfer.ts";
import { Upstream } from "./upstream.ts";

const SIZE = 600_000;
const path = pathNamed("large-1.0", { size: SIZE });
const small = pathNamed("small-1.0", { size: 3_000 });

let a: NixUpstream;
let b: NixUpstream;
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "stowhouse-spool-"));
  [a, b] = await Promise.all([new NixUpstream().start(), new NixUpstream().start()]);
  a.add(path, small);
});
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  await Promise.all([a.stop(), b.stop()]);
  rmSync(folder, { recursive: true });
});

function start(options: { abandoned?: "finish" | "cancel"; space?: number; first?: UpstreamChanges; failures?: number } = {}) {
  const breaker = { failures: options.failures ?? 50, pause: 60_000 };
  const upstreams = [new Upstream("a", upstreamSettings(a.url, options.first), breaker), new Upstream("b", upstreamSettings(b.url), breaker)];
  const space = new SpoolSpace(folder, options.space ?? 100_000_000);
  const kept: Buffer[] = [];
  const failures: unknown[] = [];
  const keeping = { fails: undefined as Error | undefined };
  const registry = new Registry();
  const downloads = new Downloads({ cache: "default", space, leisure: new Leisure(), abandoned: options.abandoned ?? "finish", metrics: new UpstreamMetrics(registry), onError: (error) => failures.push(error) });
  ends.push(async () => {
    await downloads.close();
    upstreams.forEach((upstream) => upstream.close());
    await settled(() => space.used === 0);
    expect([space.used, readdirSync(folder)]).toEqual([0, []]);
  });
  const keep = async (transfer: Transfer) => {
    if (keeping.fails) throw keeping.fails;
    const chunks: Buffer[] = [];
    for await (const chunk of transfer.chunks()) chunks.push(chunk);
    kept.push(Buffer.concat(chunks));
  };
  const join = (of: Path, { at = upstreams, expected = { digest: of.digest as string | undefined, size: of.nar.length as number | undefined } } = {}) =>
    downloads.join(of.digest, () => ({
      expected: { ...expected, limit: 10_000_000 },
      async *places(): AsyncGenerator<Place> {
        for (const upstream of at) yield { upstream, url: of.narUrl };
      },
      keep,
    }));
  return { downloads, upstreams, space, kept, failures, keeping, registry, join };
}

const codeOf = (error: unknown) => (error as { code?: string }).code;
const refusal = (promise: Promise<unknown>) => promise.then(() => "nothing", (error: { code: string; status: number; retryAfter?: number }) => `${error.code} ${error.status} ${error.retryAfter ?? "-"}`);

/** All that a reader gets, and how it ended. */
async function drain(reader: Reader, start = 0, end = Number.POSITIVE_INFINITY): Promise<{ bytes: Buffer; error: unknown }> {
  const chunks: Buffer[] = [];
  let error: unknown;
  try {
    await reader.read(start, end, async (chunk) => void chunks.push(Buffer.from(chunk)));
  } catch (thrown) {
    error = thrown;
  } finally {
    reader.leave();
  }
  return { bytes: Buffer.concat(chunks), error };
}

const wholeOf = async (reader: Reader) => {
  const { bytes, error } = await drain(reader);
  if (error !== undefined) throw error;
  return bytes;
};

async function settled(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
}

test("many who want one NAR at once, some only a part of it: one request, the same bytes, kept once", async () => {
  a.rate = 3_000_000;
  const { join, kept, registry, downloads } = start();
  const readers = await Promise.all(Array.from({ length: 8 }, () => join(path)));
  const ranges = readers.map((reader, i) => drain(reader, i * 50_000, i % 2 === 0 ? Number.POSITIVE_INFINITY : SIZE - i * 1_000));
  for (const [i, { bytes, error }] of (await Promise.all(ranges)).entries()) {
    expect(error).toBeUndefined();
    expect(bytes.equals(path.nar.subarray(i * 50_000, i % 2 === 0 ? SIZE : SIZE - i * 1_000))).toBe(true);
  }
  await settled(() => downloads.arriving === 0);
  expect(a.requests).toEqual([`GET /${path.narUrl}`]);
  expect(kept).toHaveLength(1);
  expect(kept[0]!.equals(path.nar)).toBe(true);
  expect(await registry.metrics()).toMatch(/stowhouse_upstream_joins_total\{cache="default"\} 7[^]*/);
});

test("bytes reach readers while the rest is still to come", async () => {
  a.fail("nar", "hang-middle");
  const { join } = start({ first: { stallTimeout: 60_000 } });
  const reader = await join(path);
  expect(reader.size).toBe(SIZE);
  const got = await new Promise<number>((resolve) => {
    let length = 0;
    reader.read(0, SIZE, async (chunk) => {
      length += chunk.length;
      if (length >= SIZE / 2 - 100_000) resolve(length);
    }).catch(() => {});
  });
  expect(got).toBeLessThanOrEqual(SIZE / 2);
  reader.leave();
});

describe("what breaks off", () => {
  test.each(["truncate", "short", "hang-middle"] as const)("goes on where it was (%s)", async (fault) => {
    a.fail("nar", fault, 1);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
    expect(a.requests).toHaveLength(2);
    expect(a.heads[1]!).toMatchObject({ range: `bytes=${SIZE / 2}-`, "if-range": expect.stringMatching(/^"/) });
  });

  test("again and again, as long as something comes", async () => {
    a.fail("nar", "truncate", 5);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test("at an upstream without ranges: what is known comes again and is left out", async () => {
    a.ranges = false;
    a.fail("nar", "truncate", 1);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test("for good: another upstream goes on", async () => {
    b.add(path);
    a.fail("nar", { status: 500 });
    a.fail("nar", "truncate", 1);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
    expect(b.heads.at(-1)!["range"]).toBe(`bytes=${SIZE / 2}-`);
  });

  test("for good, and nobody else has it: readers are broken off, nothing is kept, and the next one starts anew", async () => {
    a.fail("nar", { status: 500 });
    a.fail("nar", "truncate", 1);
    const { join, kept } = start();
    const { bytes, error } = await drain(await join(path));
    expect(bytes.length).toBeLessThanOrEqual(SIZE / 2);
    expect(codeOf(error)).toBe("STOW_UPSTREAM_UNAVAILABLE");
    expect(kept).toEqual([]);
    a.heal();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test("an upstream that sends another version instead of the rest is found out", async () => {
    a.fail("nar", "truncate", 1);
    const { join, kept } = start();
    const reader = await join(path);
    a.file(`/${path.narUrl}`, pathNamed("other", { size: SIZE }).nar);
    const { bytes, error } = await drain(reader);
    expect(codeOf(error)).toBe("STOW_UPSTREAM_UNAVAILABLE");
    expect(bytes.length).toBeLessThan(SIZE);
    expect(kept).toEqual([]);
  });
});

describe("wrong bytes", () => {
  test("are never complete for anybody, and not kept; the next request gets the right ones", async () => {
    a.fail("nar", "flip", 1);
    const { join, kept, registry } = start();
    const readers = await Promise.all([join(path), join(path), join(path)]);
    const [whole, rest, part] = await Promise.all([drain(readers[0]!), drain(readers[1]!, SIZE - 10), drain(readers[2]!, 0, 1_000)]);
    expect(whole.bytes.length).toBeLessThan(SIZE);
    expect(rest.bytes.length).toBe(0);
    // Not even a range that ends long before: its reader would take it for good.
    expect(part.bytes.length).toBe(0);
    for (const { error } of [whole, rest, part]) expect(codeOf(error)).toBe("STOW_UPSTREAM_UNAVAILABLE");
    expect(kept).toEqual([]);
    expect(await registry.metrics()).toContain('stowhouse_upstream_nars_total{cache="default",result="spoiled"} 1');
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test("of a small NAR, of which nobody has seen anything: it is fetched again at once", async () => {
    a.fail("nar", "flip", 1);
    const { join } = start();
    expect((await wholeOf(await join(small))).equals(small.nar)).toBe(true);
    expect(a.requests).toHaveLength(2);
  });

  test("again and again: another upstream's are taken, and that one is asked first from then on", async () => {
    b.add(small, path);
    a.fail("nar", "flip");
    const { join, downloads } = start();
    expect((await wholeOf(await join(small))).equals(small.nar)).toBe(true);
    await settled(() => downloads.arriving === 0);
    expect((await wholeOf(await join(small))).equals(small.nar)).toBe(true);
    expect([a.requests.length, b.requests.length]).toEqual([1, 2]);
  });

  test("a wrong length is seen before anything is sent", async () => {
    b.add(path);
    a.file(`/${path.narUrl}`, path.nar.subarray(1));
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
    expect(b.requests).toHaveLength(1);
  });

  test("more than was announced is refused, whoever says it", async () => {
    a.fail("nar", { change: (_, response, body) => void response.writeHead(200).end(Buffer.concat([body, body])) });
    const { join } = start();
    const { error } = await drain(await join(path));
    expect(codeOf(error)).toBe("STOW_UPSTREAM_UNAVAILABLE");
  });
});

describe("an upstream that does not give it", () => {
  test.each([
    ["500", { status: 500 } as const, "STOW_UPSTREAM_UNAVAILABLE 503 5"],
    ["503", { status: 503 } as const, "STOW_UPSTREAM_UNAVAILABLE 503 5"],
    ["403", { status: 403 } as const, "STOW_UPSTREAM_UNAVAILABLE 503 5"],
    ["nothing at all", "hang" as const, "STOW_UPSTREAM_TIMEOUT 504 5"],
  ])("alone, by %s: it is worth another try", async (_, fault, expected) => {
    a.fail("nar", fault, 1);
    const { join, upstreams } = start();
    expect(await refusal(join(path, { at: [upstreams[0]!] }))).toBe(expected);
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test.each([["500", { status: 500 } as const], ["404", { status: 404 } as const], ["nothing at all", "hang" as const], ["a reset", "reset" as const]])("by %s, beside one that has it: nobody notices", async (_, fault) => {
    b.add(path);
    a.fail("nar", fault);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });

  test("by 404, beside others that say so too: it is certain", async () => {
    a.remove(`/${path.narUrl}`);
    expect(await refusal(start().join(path))).toBe("STOW_NOT_FOUND 404 -");
  });

  test("a reset is tried once more", async () => {
    a.fail("nar", "reset", 1);
    const { join } = start();
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
  });
});

describe("clients that leave", () => {
  test("the first one does not take the NAR from the others", async () => {
    a.rate = 2_000_000;
    const { join } = start({ abandoned: "cancel" });
    const first = await join(path);
    const second = await join(path);
    const reading = drain(first);
    first.leave();
    expect(codeOf((await reading).error)).toBe("STOW_CLIENT_GONE");
    expect((await wholeOf(second)).equals(path.nar)).toBe(true);
    expect(a.requests).toHaveLength(1);
  });

  test("all of them: it is finished and kept", async () => {
    a.rate = 3_000_000;
    const { join, kept } = start();
    (await join(path)).leave();
    await settled(() => kept.length > 0);
    expect(kept[0]!.equals(path.nar)).toBe(true);
  });

  test("all of them, where such a NAR is cancelled: the upstream is left, unless somebody comes back in time", async () => {
    a.fail("nar", "hang-middle");
    const { join, kept, downloads, registry } = start({ abandoned: "cancel", first: { stallTimeout: 60_000 } });
    (await join(path)).leave();
    const back = await join(path);
    await sleep(100);
    expect(downloads.arriving).toBe(1);
    back.leave();
    await settled(() => downloads.arriving === 0);
    await settled(() => downloads.arriving === 0);
    expect([downloads.arriving, kept.length]).toEqual([0, 0]);
    expect(await registry.metrics()).toContain('result="cancelled"} 1');
  });
});

describe("what upstreams leave out", () => {
  test("a NAR whose file hash nobody said is hashed on its way", async () => {
    const { join, kept } = start();
    const reader = await join(path, { expected: { digest: undefined, size: undefined } });
    expect(reader.size).toBe(SIZE);
    expect((await wholeOf(reader)).equals(path.nar)).toBe(true);
    await settled(() => kept.length > 0);
    expect(kept[0]!.equals(path.nar)).toBe(true);
  });

  test("without any length, too", async () => {
    a.fail("nar", { change: (_, response, body) => void response.writeHead(200).end(body) });
    const { join } = start();
    const reader = await join(path, { expected: { digest: undefined, size: undefined } });
    expect((await wholeOf(reader)).equals(path.nar)).toBe(true);
  });
});

describe("limits", () => {
  test("no room for it: another try is worth it, and room comes back", async () => {
    a.fail("nar", "hang-middle", 1);
    const { join, downloads } = start({ space: SIZE + 2_000, first: { stallTimeout: 60_000 } });
    const reader = await join(path);
    expect(await refusal(join(small))).toBe("STOW_UPSTREAM_BUSY 503 10");
    reader.leave();
    await downloads.close();
  });

  test("a NAR larger than entries may be is refused before it is fetched", async () => {
    const { downloads } = start();
    const places = async function* (): AsyncGenerator<Place> {};
    expect(await refusal(downloads.join("x", () => ({ expected: { digest: undefined, size: 20, limit: 10 }, places, keep: async () => {} })))).toMatch("STOW_TOO_LARGE");
    expect(a.requests).toEqual([]);
  });

  test("one that says nothing of its size is stopped when it gets too large", async () => {
    a.fail("nar", { change: (_, response, body) => void response.writeHead(200).end(body) });
    const { downloads, upstreams } = start();
    const places = async function* (): AsyncGenerator<Place> {
      yield { upstream: upstreams[0]!, url: path.narUrl };
    };
    const reader = await downloads.join("x", () => ({ expected: { digest: undefined, size: undefined, limit: 1_000 }, places, keep: async () => {} }));
    expect(codeOf((await drain(reader)).error)).toBe("STOW_TOO_LARGE");
  });

  test("a storage that takes nothing costs nobody the NAR", async () => {
    const { join, keeping, failures, registry, downloads } = start();
    keeping.fails = new Error("the disk is full");
    expect((await wholeOf(await join(path))).equals(path.nar)).toBe(true);
    await settled(() => downloads.arriving === 0);
    expect(failures).toEqual([keeping.fails]);
    expect(await registry.metrics()).toContain('result="unkept"} 1');
  });

  test("closing breaks everything off", async () => {
    a.fail("nar", "hang-middle");
    const { join, downloads } = start({ first: { stallTimeout: 60_000 } });
    const reading = drain(await join(path));
    await downloads.close();
    expect(codeOf((await reading).error)).toBe("STOW_DRAINING");
    expect(await refusal(join(path))).toMatch("STOW_DRAINING");
  });
});

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NixUpstream, pathNamed, testKey, type Path } from "../fixtures/nix-upstream.ts";
import { startPostgres, type Postgres } from "../fixtures/postgres.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";

/** At this rate an upstream needs 4 s for it. */
const SIZE = 24_000_000;
const RATE = SIZE / 4;

let postgres: Postgres;
let upstream: NixUpstream;
let folder: string;
let config: object;
let one: Stowhouse;
let two: Stowhouse;
beforeAll(async () => {
  [postgres, upstream] = await Promise.all([startPostgres(), new NixUpstream().start()]);
  folder = await mkdtemp(join(tmpdir(), "stowhouse-nix-replicas-"));
  config = {
    database: { type: "postgres", url: postgres.url },
    storages: { default: { path: join(folder, "blobs") } },
    caches: { default: { anonymousRead: true } },
    protocols: { nix: { caches: { default: { upstreams: { a: { url: upstream.url, trustedKeys: [testKey("upstream-1").public.text] } } } } } },
  };
  one = await replica("one");
  two = await replica("two");
});
afterAll(async () => {
  for (const replica of [one, two]) if (replica?.alive()) await replica.stop();
  await Promise.all([postgres.stop(), upstream.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const replica = (name: string) => startStowhouse({ data: join(folder, name, "data"), home: join(folder, name), config });

async function pull(from: Stowhouse, of: Path): Promise<{ status: number; firstByte: number; took: number; bytes: Buffer | undefined }> {
  const started = performance.now();
  await (await fetch(`${from.url}/nix/default/${of.hash}.narinfo`)).arrayBuffer();
  const answer = await fetch(`${from.url}/nix/default/${of.narUrl}`);
  const chunks: Uint8Array[] = [];
  let firstByte = 0;
  try {
    for await (const chunk of answer.body!) {
      if (chunks.push(chunk) === 1) firstByte = performance.now() - started;
    }
  } catch {
    return { status: answer.status, firstByte, took: performance.now() - started, bytes: undefined };
  }
  return { status: answer.status, firstByte, took: performance.now() - started, bytes: Buffer.concat(chunks) };
}

const nars = () => upstream.count("/nar/");

test("two replicas that are asked for one NAR stream it at once, by two requests at most, and keep it once", async () => {
  const of = pathNamed("together", { size: SIZE });
  upstream.add(of);
  upstream.rate = RATE;
  upstream.requests.length = 0;
  const pulls = [pull(one, of), sleep(500).then(() => pull(two, of)), pull(one, of), pull(two, of)];
  for (const { status, bytes, firstByte } of await Promise.all(pulls)) {
    expect(status).toBe(200);
    expect(bytes?.equals(of.nar)).toBe(true);
    expect(firstByte).toBeLessThan(3_000);
  }
  expect(nars()).toBeLessThanOrEqual(2);
  upstream.rate = 0;
  // Kept: neither asks again, once what they write is written.
  const before = nars();
  await sleep(1_000);
  for (const replica of [one, two]) expect((await pull(replica, of)).bytes?.equals(of.nar)).toBe(true);
  expect(nars()).toBe(before);
});

test("the replica that fetches is killed: the other one's clients get the NAR whole, and so does whoever comes after", async () => {
  const of = pathNamed("killed", { size: SIZE });
  upstream.add(of);
  upstream.rate = RATE;
  const broken = pull(one, of).catch(() => undefined);
  await sleep(1_000);
  const other = pull(two, of);
  await sleep(1_000);
  await one.kill("SIGKILL");
  expect((await broken)?.bytes).toBeUndefined();
  const { bytes, took } = await other;
  expect(bytes?.equals(of.nar)).toBe(true);
  expect(took).toBeLessThan(10_000);
  const again = await pull(two, of);
  expect(again.bytes?.equals(of.nar)).toBe(true);
  one = await replica("one");
  expect((await pull(one, of)).bytes?.equals(of.nar)).toBe(true);
});

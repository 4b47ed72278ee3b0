import { afterAll, beforeAll, expect, test } from "vitest";
import { Random, seedOf } from "../fixtures/random.ts";
import { blobsPath, commitPath, RESERVE } from "../../server/protocols/archive/wire.ts";
import { frame, manifestOf, records } from "../fixtures/archive.ts";
import { recordArchive } from "../fixtures/recorded/archive.ts";
import { cachixTheirs, recordCachix } from "../fixtures/recorded/cachix.ts";
import { recordGithubActions } from "../fixtures/recorded/github-actions.ts";
import { goPut, goTheirs, recordGo } from "../fixtures/recorded/go.ts";
import { nixNames, recordNix } from "../fixtures/recorded/nix.ts";
import { recordNip } from "../fixtures/recorded/nip.ts";
import { recordServer } from "../fixtures/recorded/server.ts";
import type { RecordedRequest, Send } from "../fixtures/recorded/request.ts";
import { mutate } from "./mutate.ts";
import { sendRaw } from "./socket.ts";
import { CANARY, makeWorld, type Answered, type World } from "./world.ts";

const COUNT = Number(process.env["STOWHOUSE_FUZZ_COUNT"] ?? 10_000);
/** Of these, through a real connection. */
const RAW_SHARE = 0.1;
/** Mutations of each recorded request; then a fresh recording, because reservations and their URLs are used up. */
const VARIANTS = 12;
const AT_ONCE = 48;

const seed = seedOf("fuzz", 8_420);
let world: World;
beforeAll(async () => {
  world = await makeWorld();
});
afterAll(() => world.close());

type Record = (send: Send, token: string, prefix: string) => Promise<RecordedRequest[]>;

interface Report {
  readonly total: number;
  readonly raw: number;
  readonly accepted: number;
  readonly statuses: Map<number, number>;
  readonly problems: string[];
}

/** @param secrets what no answer may hold; none where the caller may see all */
async function fuzz(name: string, record: Record, tokens: readonly string[], secrets: readonly (string | Buffer)[], share = 1): Promise<Report> {
  const random = new Random(seed ^ name.length * 7_919);
  const statuses = new Map<number, number>();
  const problems: string[] = [];
  const before = sum(world.accepted);
  const errorsBefore = world.errors.length;
  let [total, raw, prepared] = [0, 0, 0];
  const judge = (request: RecordedRequest, answer: Answered) => {
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    if (answer.status >= 500) problems.push(`${answer.status} for ${show(request)}: ${answer.body.toString("utf8", 0, 300)}`);
    if (secrets.some((secret) => answer.bytes.includes(secret))) problems.push(`a LEAK for ${show(request)}: ${answer.body.toString("utf8", 0, 300)}`);
  };
  const send: Send = (request) => {
    prepared++;
    return world.inject(request);
  };

  for (let round = 0; total < COUNT * share; round++) {
    const prefix = `fuzz${name.length}-${round}`;
    const recorded = await record(send, tokens[round % tokens.length]!, prefix);
    await world.plant([`${prefix}-saved`, `${prefix}-curl+py 3.12`]);
    const requests: RecordedRequest[] = [];
    for (const request of recorded) {
      for (let i = 0; i < VARIANTS; i++) requests.push(mutate(request, random));
      // Now and then what came is valid, so that what follows finds more than nothing.
      if (random.chance(0.5)) requests.push(request);
    }
    const left = requests.toReversed();
    const worker = async () => {
      for (let request = left.pop(); request; request = left.pop()) {
        total++;
        const socket = random.chance(RAW_SHARE);
        if (socket) raw++;
        await (socket ? sendRaw(world.url, request, random) : world.inject(request)).then(
          (answer) => judge(request, answer),
          (error: unknown) => problems.push(`${String(error)} for ${show(request)}`),
        );
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }
  // The log is written when a request's connection is done with.
  await new Promise((resolve) => setTimeout(resolve, 100));
  const accepted = sum(world.accepted) - before - prepared;
  problems.push(...world.errors.slice(errorsBefore).map((line) => `logged as an error: ${line.slice(0, 1_500)}`));
  return { total, raw, accepted, statuses, problems };
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

function show({ name, method, path, headers, body }: RecordedRequest): string {
  return `${name}: ${method} ${path} ${JSON.stringify(headers)} ${body ? JSON.stringify(body.toString("latin1").slice(0, 400)) : ""}`;
}

/** @param part of the requests that got past routing and authentication, at least */
function expectSound(name: string, part: number, { total, raw, accepted, statuses, problems }: Report): void {
  const counts = [...statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`).join(", ");
  console.log(`${name}: ${total} requests, ${raw} of them through a socket, ${accepted} past routing and authentication; by status ${counts}`);
  expect(problems.slice(0, 10)).toEqual([]);
  expect(total).toBeGreaterThanOrEqual(COUNT / 4);
  expect(accepted).toBeGreaterThan(total * part);
}

test("what belongs to others would be recognised", async () => {
  await world.plant(["planted"]);
  const ask = (token: string) => world.inject({ name: "download", method: "GET", path: "/v1/download/planted", headers: { authorization: `Bearer ${token}` }, body: undefined });
  expect((await ask(world.othersKey)).bytes.includes(CANARY)).toBe(true);
  expect((await ask(world.writeKey)).status).toBe(404);
});

test("github-actions: no mutated request makes the server fail, hang or tell of others", async () => {
  expectSound("github-actions", 0.5, await fuzz("github-actions", recordGithubActions, [world.writeKey, world.session], [CANARY]));
});

test("nip: no mutated request makes the server fail, hang or tell of others", async () => {
  expectSound("nip", 0.5, await fuzz("nip", recordNip, [world.writeKey, world.session], [CANARY]));
});

test("nix: no mutated request makes the server fail, hang or tell of others", async () => {
  // Others have something under the very names that are asked for.
  const record: Record = async (send, token, prefix) => {
    const { log, listing, trace } = nixNames(prefix);
    const outPath = `${"0".repeat(32)}-${CANARY}`;
    for (const [path, body] of [[log, CANARY], [listing, JSON.stringify(CANARY)], [trace, JSON.stringify({ outPath, signatures: [] })]] as const) {
      const answer = await world.inject({ name: path, method: "PUT", path, headers: { authorization: `Bearer ${world.rivalKey}` }, body: Buffer.from(body) });
      expect(answer.status, answer.body.toString("utf8")).toBe(204);
    }
    return recordNix(send, token, prefix);
  };
  expectSound("nix", 0.4, await fuzz("nix", record, [world.writeKey, world.session], [CANARY]));
});

test("cachix: no mutated request makes the server fail, hang or tell of others", async () => {
  const record: Record = async (send, token, prefix) => {
    for (const request of cachixTheirs(world.rivalKey, prefix, CANARY)) {
      const { status, body } = await world.inject(request);
      expect(status, body.toString("utf8")).toBe(204);
    }
    return recordCachix(send, token, prefix);
  };
  expectSound("cachix", 0.4, await fuzz("cachix", record, [world.writeKey, world.session], [CANARY]));
});

test("go: no mutated request makes the server fail, hang or tell of others", async () => {
  const record: Record = async (send, token, prefix) => {
    const { status, body } = await world.inject(goPut(world.rivalKey, goTheirs(prefix), Buffer.from(`${CANARY} of a rival's build`)));
    expect(status, body.toString("utf8")).toBe(200);
    return recordGo(send, token, prefix);
  };
  expectSound("go", 0.4, await fuzz("go", record, [world.writeKey, world.session], [CANARY]));
});

test("archives: no mutated request makes the server fail, hang or tell of others", async () => {
  // Others, in another cache and in this one, have archives; a chunk of theirs is asked for, and the frames it lies in must stay unknown.
  const chunk = Buffer.from(`${CANARY} in a chunk`);
  const digests = [await saveOf(chunk, world.othersKey), await saveOf(chunk, world.rivalKey, Buffer.from("beside it"))];
  const record: Record = (send, token, prefix) => recordArchive(send, token, prefix, chunk);
  expectSound("archive", 0.5, await fuzz("archive", record, [world.writeKey, world.session], [CANARY, ...digests.flatMap((digest) => [digest, Buffer.from(digest, "hex")])]));
});

test("sessions and administration: no mutated request makes the server fail or hang", async () => {
  // Some of these routes are open to all, and nobody is let in there.
  expectSound("server", 0.3, await fuzz("server", (send, token, prefix) => recordServer(send, token, world.writeKey, prefix), [world.adminKey], [], 0.3));
});

/** Others save an archive that holds these chunks; the digest of its frame. */
async function saveOf(chunk: Buffer, key: string, ...more: Buffer[]): Promise<string> {
  const one = frame(chunk, ...more);
  const post = async (path: string, body: Buffer) => {
    const { status, body: said } = await world.inject({ name: path, method: "POST", path, headers: { authorization: `Bearer ${key}`, "content-type": "application/octet-stream" }, body });
    expect(status, said.toString("utf8")).toBeLessThan(300);
    return JSON.parse(said.toString("utf8")) as { upload: string };
  };
  const { upload } = await post(RESERVE, Buffer.from(JSON.stringify({ key: `${CANARY}-frame`, version: "v" })));
  await post(blobsPath(upload), records([one]));
  await post(commitPath(upload), manifestOf([one]));
  return one.piece.digest;
}

test("the server lives, and others have what they had", async () => {
  const answer = await world.inject({ name: "look-up", method: "GET", path: "/v1/health", headers: {}, body: undefined });
  expect(answer.status).toBe(200);
});

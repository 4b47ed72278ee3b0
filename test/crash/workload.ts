import { bytesOf, Random } from "../fixtures/random.ts";
import { blockId, finalized, GhaClient, json, NipClient, signedUrl, type Answer, type Target } from "../fixtures/wire-clients.ts";
import type { Attempt, Ledger, Seen } from "./ledger.ts";

const NIP_WRITERS = 4;
const GHA_WRITERS = 4;
const READERS = 2;
/** Keys that are overwritten over and over, by all writers. */
const CONTESTED = 10;
/** The inline limit, around which bodies move from the database to the storage. */
const INLINE = 64 * 1024;

export interface Load {
  /** Ends when the server is gone, or at `stop`. */
  readonly ended: Promise<void>;
  stop(): void;
  /** Wrong answers while the server ran. */
  readonly problems: string[];
}

/** Uploads through both protocols and reads of what is there, all at once, until the server dies. */
export function startLoad(target: Target, ledger: Ledger, round: number, seed: number): Load {
  const stopped = new AbortController();
  const problems: string[] = [];
  const work = (index: number, step: (random: Random, serial: number) => Promise<void>) => {
    const random = new Random(seed * 1_000_003 + round * 1_009 + index);
    return (async () => {
      for (let serial = 0; !stopped.signal.aborted; serial++) {
        // The death of the server is what this is about; what was under way stays in doubt.
        if (!(await step(random, serial).then(() => true, () => false))) return;
      }
    })();
  };
  const nip = new NipClient(target);
  const gha = new GhaClient(target);
  const refuse = (what: string, answer: Answer) => void problems.push(`${what}: ${answer.status} ${answer.body.toString("utf8", 0, 300)}`);
  const all: Promise<void>[] = [];
  for (let i = 0; i < NIP_WRITERS; i++) {
    all.push(work(i, async (random, serial) => {
      const key = random.chance(0.6) ? `contested-${random.int(1, CONTESTED)}` : `fresh-${round}-${i}-${serial}`;
      await putNip(nip, ledger, key, sizeOf(random), random, refuse);
    }));
  }
  for (let i = 0; i < GHA_WRITERS; i++) {
    all.push(work(100 + i, (random, serial) => putGha(gha, ledger, `save-${round}-${i}-${serial}`, random, refuse)));
  }
  for (let i = 0; i < READERS; i++) {
    all.push(work(200 + i, async (random) => {
      const protocol = random.pick(["gha", "nip"] as const);
      const keys = ledger.keys(protocol);
      if (keys.length === 0) return new Promise((resolve) => setTimeout(resolve, 5));
      const problem = await check(target, ledger, protocol, random.pick(keys.slice(-40)), false);
      if (problem) problems.push(problem);
    }));
  }
  return { problems, stop: () => stopped.abort(), ended: Promise.all(all).then(() => {}) };
}

/** Mostly small, some around the inline limit, some in several writes. */
function sizeOf(random: Random): number {
  const kind = random.next();
  if (kind < 0.4) return random.int(0, 8 * 1024);
  if (kind < 0.6) return INLINE + random.int(-2, 2);
  return random.int(INLINE, kind < 0.9 ? 512 * 1024 : 3 * 1024 * 1024);
}

type Refuse = (what: string, answer: Answer) => void;

async function putNip(nip: NipClient, ledger: Ledger, key: string, size: number, random: Random, refuse: Refuse): Promise<void> {
  // Some bodies are equal under several keys: then rows share a blob, and one of two files must go.
  const shared = random.chance(0.15);
  const version = ledger.of("nip", key).length + 1;
  const body = shared && !key.startsWith("contested") ? bytesOf("shared", random.pick([1_000, INLINE + 1, 300_000])) : bytesOf(`${key} ${version}`, size);
  const attempt = ledger.begin("nip", key, body);
  const answer = await nip.put(key, body, { version: attempt.version, digest: attempt.digest });
  if (answer.status === 201) ledger.acknowledge(attempt);
  else refuse(`nip put ${key}`, answer);
}

async function putGha(gha: GhaClient, ledger: Ledger, key: string, random: Random, refuse: Refuse): Promise<void> {
  const sizes = Array.from({ length: random.int(1, 5) }, () => sizeOf(random));
  const blocks = sizes.map((size, index) => bytesOf(random.chance(0.1) ? "shared block" : `${key} ${index}`, Math.max(size, 1)));
  const body = Buffer.concat(blocks);
  const attempt = ledger.begin("gha", key, body);
  const created = await gha.create(key);
  const url = signedUrl(created, "signed_upload_url");
  if (url === undefined) return refuse(`create ${key}`, created);
  if (blocks.length === 1 && random.chance(0.5)) {
    const sent = await gha.blob(url, body);
    if (sent.status !== 201) return refuse(`blob ${key}`, sent);
  } else {
    const ids = blocks.map((_, index) => blockId(index));
    // In any order and at once, as the Azure SDK does.
    const sent = await Promise.all(random.shuffle(ids).map((id) => gha.block(url, id, blocks[ids.indexOf(id)]!)));
    const refused = sent.find((answer) => answer.status !== 201);
    if (refused) return refuse(`block of ${key}`, refused);
    const listed = await gha.list(url, ids);
    if (listed.status !== 201) return refuse(`list of ${key}`, listed);
  }
  attempt.listed = true;
  const answer = await gha.finalize(key, body.length);
  if (finalized(answer)) ledger.acknowledge(attempt);
  else refuse(`finalize ${key}`, answer);
}

/**
 * Reads a key and judges what came. @param quiet nobody writes, so body and metadata must belong together
 */
export async function check(target: Target, ledger: Ledger, protocol: Attempt["protocol"], key: string, quiet: boolean): Promise<string | undefined> {
  const asked = performance.now();
  const seen = protocol === "gha" ? await readGha(target, key) : await readNip(target, key, quiet);
  return typeof seen === "string" && seen !== "miss" ? seen : ledger.judge(protocol, key, seen as Seen, asked);
}

async function readGha(target: Target, key: string): Promise<Seen | string> {
  const bytes = await new GhaClient(target).get(key);
  return bytes === undefined ? "miss" : { bytes };
}

async function readNip(target: Target, key: string, quiet: boolean): Promise<Seen | string> {
  const nip = new NipClient(target);
  const answer = await nip.get(key);
  if (answer.status === 404) return "miss";
  if (answer.status !== 200) return `nip ${key}: ${answer.status} ${answer.body.toString("utf8", 0, 300)}`;
  if (!quiet) return { bytes: answer.body };
  const metadata = await nip.metadata(key);
  if (metadata.status !== 200) return `nip metadata ${key}: ${metadata.status}`;
  return { bytes: answer.body, version: json(metadata)["version"] as number };
}

/** Repeats the last call of an upload whose client does not know whether it worked; it must then be there. */
export async function finish(target: Target, ledger: Ledger, attempt: Attempt): Promise<void> {
  const answer = await new GhaClient(target).finalize(attempt.key, attempt.size);
  if (finalized(answer)) ledger.acknowledge(attempt);
}

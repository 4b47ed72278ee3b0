import { setTimeout } from "node:timers/promises";
import { Random } from "../fixtures/random.ts";
import { startStowhouse, type StartOptions, type Stowhouse } from "../fixtures/stowhouse.ts";
import { Ledger } from "./ledger.ts";
import { check, finish, startLoad } from "./workload.ts";

export interface RoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly server: StartOptions;
  /** Takes the server away in the middle of the load and says with which options it comes back. Default: kill -9. */
  readonly cut?: ((server: Stowhouse, round: number) => Promise<StartOptions>) | undefined;
  /** Told after every round. */
  readonly report?: (line: string) => void;
}

export interface Outcome {
  readonly problems: string[];
  readonly attempts: number;
  readonly acknowledged: number;
  /** Writes under way at a cut, of which nobody knows whether they happened. */
  readonly inDoubt: number;
  /** Of these, how many were there afterwards. */
  readonly inDoubtKept: number;
  /** How the server was started last; its data is at rest. */
  readonly last: StartOptions;
}

/** A cut comes at most so long after the first write of a round was acknowledged, ms. */
const SPREAD = 1_800;
/** Older keys looked at after each round; all are at the end. */
const SAMPLE = 40;

/**
 * Round after round: uploads, a sudden end at a random moment, a new start on what is left, and a look at everything that
 * was acknowledged or was under way.
 */
export async function runRounds(options: RoundsOptions): Promise<Outcome> {
  const { rounds, seed, report = () => {} } = options;
  const random = new Random(seed);
  const ledger = new Ledger();
  const problems: string[] = [];
  let [inDoubt, inDoubtKept] = [0, 0];
  let how = options.server;
  let server = await startStowhouse(how);
  try {
    for (let round = 1; round <= rounds; round++) {
      const begun = performance.now();
      const load = startLoad(server, ledger, round, seed);
      const before = ledger.count().acknowledged;
      for (let waited = 0; ledger.count().acknowledged === before && waited < 10_000; waited += 10) await setTimeout(10);
      await setTimeout(random.int(0, SPREAD));
      if (options.cut) how = await options.cut(server, round);
      else await server.kill("SIGKILL");
      load.stop();
      await load.ended;
      problems.push(...load.problems.map((problem) => `round ${round}, before the cut: ${problem}`));
      const open = attemptsSince(ledger, begun).filter((attempt) => attempt.acknowledged === undefined);

      server = await startStowhouse(how);
      for (const attempt of open) {
        if (attempt.protocol === "gha" && attempt.listed) await finish(server, ledger, attempt);
      }
      const found = await checkAll(server, ledger, keysOf(ledger, begun, random));
      problems.push(...found.map((problem) => `round ${round}: ${problem}`));
      inDoubt += open.length;
      inDoubtKept += open.filter((attempt) => attempt.acknowledged !== undefined).length;
      const { attempts, acknowledged } = ledger.count();
      report(`round ${round} of ${rounds}: ${acknowledged} of ${attempts} writes acknowledged, ${open.length} were under way, ready again in ${server.readyMs.toFixed(0)} ms, ${problems.length} problems`);
    }
    problems.push(...(await checkAll(server, ledger, keysOf(ledger, 0, random))).map((problem) => `at the end: ${problem}`));
    await server.stop();
    return { problems, ...ledger.count(), inDoubt, inDoubtKept, last: how };
  } finally {
    await server.kill();
  }
}

type Key = ["gha" | "nip", string];

function keysOf(ledger: Ledger, since: number, random: Random): Key[] {
  return (["gha", "nip"] as const).flatMap((protocol) => {
    const fresh = ledger.keys(protocol, since);
    const old = random.shuffle(ledger.keys(protocol)).slice(0, SAMPLE);
    return [...new Set([...fresh, ...old])].map((key): Key => [protocol, key]);
  });
}

function attemptsSince(ledger: Ledger, begun: number) {
  return (["gha", "nip"] as const).flatMap((protocol) => ledger.keys(protocol, begun).flatMap((key) => ledger.of(protocol, key))).filter((attempt) => attempt.begun >= begun);
}

async function checkAll(server: Stowhouse, ledger: Ledger, keys: readonly Key[]): Promise<string[]> {
  const problems: string[] = [];
  const left = [...keys];
  const worker = async () => {
    for (let next = left.pop(); next; next = left.pop()) {
      const problem = await check(server, ledger, next[0], next[1], true).catch((error: unknown) => `${next![0]} ${next![1]}: ${String(error)} ${String((error as Error).cause ?? "")}`);
      if (problem) problems.push(problem);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return problems;
}

import { Command } from "commander";
import { rm } from "node:fs/promises";
import { settle, sqliteFiles, postgresS3, powerCut, type Place } from "./places.ts";
import { runRounds } from "./rounds.ts";

/** The long form of the crash suite: `npm run soak -- --rounds 60 --cuts 5`. */
const program = new Command("soak")
  .option("--rounds <n>", "kill -9 rounds, for each pair of database and storage", Number, 60)
  .option("--cuts <n>", "power cuts, for SQLite and files", Number, 5)
  .option("--seed <n>", "repeats a run's choices (not its timing)", Number, Date.now() % 1_000_000)
  .parse();
const { rounds, cuts, seed } = program.opts<{ rounds: number; cuts: number; seed: number }>();

let failed = false;
for (const [place, count] of [[sqliteFiles, rounds], [postgresS3, rounds], [powerCut, cuts]] as [() => Promise<Place>, number][]) {
  if (count === 0) continue;
  const where = await place();
  try {
    console.log(`${where.name}: ${count} rounds, --seed ${seed}`);
    const outcome = await runRounds({ rounds: count, seed, server: where.server, cut: where.cut, report: (line) => console.log(`  ${line}`) });
    const problems = [...outcome.problems, ...(await settle(where, outcome.last))];
    console.log(`  ${outcome.acknowledged} of ${outcome.attempts} writes acknowledged; ${outcome.inDoubt} were under way at a cut, ${outcome.inDoubtKept} of them were there afterwards`);
    console.log(problems.length === 0 ? "  nothing lost, nothing wrong" : problems.map((problem) => `  ${problem}`).join("\n"));
    failed ||= problems.length > 0;
  } finally {
    await where.close();
    await rm(where.home, { recursive: true, force: true });
  }
}
process.exitCode = failed ? 1 : 0;

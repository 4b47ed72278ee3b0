import { hash } from "node:crypto";
import { all, first, step, type Step, type Steps } from "../step.ts";

/** A name in the cache of who needs it; of version "". */
export interface NeededName {
  readonly keyspace: string;
  readonly scope: string;
  readonly key: string;
}

/** How far a circle is looked for; what leads further counts as one. */
const MAX_REACH = 20_000;

/** A number for a name. Two names of one number hold each other's entries: too much is kept then, never too little. */
export function markOf(cache: string, { keyspace, scope, key }: NeededName): number {
  return Number.parseInt(hash("sha256", `${cache}\n${keyspace}\n${scope}\n${key}`).slice(0, 13), 16);
}

/**
 * Makes a new entry hold others, those that are still to come as well, and be held itself by those that have come before it. An
 * entry that would come to hold itself that way holds nothing: nobody could ever evict it.
 * @param own its mark
 */
export function* addNeeds(entry: number, own: number, cache: string, names: readonly NeededName[]): Steps<void> {
  const needed = new Map<number, NeededName | undefined>(names.map((name) => [markOf(cache, name), name]));
  // Locked like the others: whoever begins to need it now comes before or after.
  needed.set(own, undefined);
  // Ascending order, as in everything that locks several rows.
  yield [...needed].toSorted(([a], [b]) => a - b).flatMap(([mark, name]): Step[] => (name ? addNeed(entry, mark, cache, name) : [step(LOCK, mark)]));
  const held = yield* all("UPDATE entries SET held = 1 WHERE id = ?1 AND EXISTS (SELECT 1 FROM marks WHERE mark = ?2 AND refs > 0) RETURNING id", entry, own);
  // What nobody needs can't be part of a circle.
  if (held.length > 0 && needed.size > 1 && (yield* reaches(entry, own))) yield* dropNeeds(entry);
}

const LOCK = "INSERT INTO marks (mark, refs) VALUES (?1, 0) ON CONFLICT (mark) DO UPDATE SET refs = marks.refs";

function addNeed(entry: number, mark: number, cache: string, { keyspace, scope, key }: NeededName): Step[] {
  return [
    step("INSERT INTO needs (entry, mark) VALUES (?1, ?2)", entry, mark),
    step("INSERT INTO marks (mark, refs) VALUES (?1, 1) ON CONFLICT (mark) DO UPDATE SET refs = marks.refs + 1", mark),
    step("UPDATE entries SET mark = ?1, held = 1 WHERE cache = ?2 AND keyspace = ?3 AND scope = ?4 AND version = '' AND key = ?5", mark, cache, keyspace, scope, key),
  ];
}

function* reaches(entry: number, mark: number): Steps<boolean> {
  const row = yield* first(
    "WITH RECURSIVE reach(mark) AS (SELECT n.mark FROM needs n WHERE n.entry = ?1 " +
      "UNION SELECT n.mark FROM reach r JOIN entries e ON e.mark = r.mark JOIN needs n ON n.entry = e.id) " +
      "SELECT count(*) AS seen, sum(CASE WHEN mark = ?2 THEN 1 ELSE 0 END) AS found FROM (SELECT mark FROM reach LIMIT ?3) reached",
    entry, mark, MAX_REACH,
  );
  return Number(row!["found"]) > 0 || Number(row!["seen"]) >= MAX_REACH;
}

/** Lets go of everything an entry holds. */
export function* dropNeeds(entry: number): Steps<void> {
  const rows = yield* all("DELETE FROM needs WHERE entry = ?1 RETURNING mark", entry);
  const marks = rows.map((row) => row["mark"] as number).toSorted((a, b) => a - b);
  if (marks.length === 0) return;
  yield marks.flatMap((mark): Step[] => [
    // First, because it is the lock: of two that let go of one entry at once, the second one sees what the first did.
    step("UPDATE marks SET refs = refs - 1 WHERE mark = ?1", mark),
    step("UPDATE entries SET held = CASE WHEN EXISTS (SELECT 1 FROM marks WHERE mark = ?1 AND refs > 0) THEN 1 ELSE 0 END WHERE mark = ?1", mark),
    dropMark(mark),
  ]);
}

/** Forgets a mark nobody needs. */
export function dropMark(mark: number): Step {
  return step("DELETE FROM marks WHERE mark = ?1 AND refs <= 0", mark);
}

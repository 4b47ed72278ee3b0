import { all, first, step, type Steps } from "../step.ts";

/** The stored secret of this name; `candidate` becomes it when there is none. All replicas get the same. */
export function* secret(args: { name: string; candidate: string; now: number }): Steps<string> {
  yield step("INSERT INTO secrets (name, value, created) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING", args.name, args.candidate, args.now);
  return (yield* first("SELECT value FROM secrets WHERE name = ?1", args.name))!["value"] as string;
}

/** The values that `secret` keeps under all names with this prefix, oldest first, at most 1000. */
export function* secretsUnder(args: { prefix: string }): Steps<string[]> {
  const rows = yield* all("SELECT value FROM secrets WHERE substr(name, 1, length(CAST(?1 AS TEXT))) = ?1 ORDER BY created, name LIMIT 1000", args.prefix);
  return rows.map((row) => row["value"] as string);
}

/** False when there was none. */
export function* removeSecret(args: { name: string }): Steps<boolean> {
  return (yield* first("DELETE FROM secrets WHERE name = ?1 RETURNING name", args.name)) !== undefined;
}

import initial from "./0001-initial.ts";
import chunks from "./0002-chunks.ts";
import deploy from "./0003-deploy.ts";
import needs from "./0004-needs.ts";

/** In order; a number is never reused and a released migration never changed. */
const migrations: readonly string[] = [initial, chunks, deploy, needs];

export interface Dialect {
  /** A primary key whose numbers are never used again: names that were given out must not come to mean something else. */
  readonly $ID: string;
  /** A primary key that may start over when its table is empty. */
  readonly $SEQ: string;
  readonly $INT: string;
  readonly $TEXT: string;
  readonly $BYTES: string;
}

/**
 * The migrations after `version`, as statements in the driver's own types. @throws Error for tables of a newer server: this one
 * doesn't know what they mean
 */
export function pendingMigrations(version: number, dialect: Dialect): { version: number; statements: string[] }[] {
  if (version > migrations.length) {
    throw new Error(`The database was written by a newer Stowhouse: its tables have version ${version}, this one knows ${migrations.length}. Start the newer one again, or restore a backup from before the upgrade.`);
  }
  return migrations.slice(version).map((text, index) => ({
    version: version + index + 1,
    statements: text
      .replaceAll(/^--.*$/gm, "")
      .replaceAll(/\$(ID|SEQ|INT|TEXT|BYTES)\b/g, (token) => dialect[token as keyof Dialect])
      .split(";")
      .map((statement) => statement.trim())
      .filter((statement) => statement !== ""),
  }));
}

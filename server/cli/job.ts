import { setTimeout as sleep } from "node:timers/promises";
import { errors } from "../core/errors.ts";
import type { AdminClient } from "./admin-client.ts";
import type { Io } from "./io.ts";

const POLL_MS = 500;
/** Between two lines of progress. */
const PROGRESS_MS = 5_000;

/** A run of the server's that goes on by itself, as the admin API tells of it. */
interface Job {
  readonly number: number;
  readonly started: string | null;
  readonly state: string;
  readonly error: string | null;
}

/** Polls until a run of fsck has ended. @param progress what is told of it meanwhile @throws noAnswer when it failed, or when another process answers */
export async function finished<T extends Job>(client: AdminClient, path: string, started: T, progress: (now: T) => string, io: Io): Promise<T> {
  let told = Date.now();
  for (;;) {
    const now = await client.get<T>(path);
    if (now.number !== started.number || now.started !== started.started) throw errors.noAnswer("another replica or a restarted server answers now; name one replica with --server");
    if (now.state === "done") return now;
    if (now.state === "failed") throw errors.noAnswer(`fsck failed: ${now.error}`);
    if (Date.now() - told >= PROGRESS_MS) {
      told = Date.now();
      io.stderr.write(`${progress(now)} so far…\n`);
    }
    await sleep(POLL_MS);
  }
}

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { makeImage, mountImage, type Mount } from "../fixtures/mounts.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { startStowhouse, type StartOptions, type Stowhouse } from "../fixtures/stowhouse.ts";
import { run } from "../fixtures/tools.ts";
import { startVersitygw } from "../fixtures/versitygw.ts";
import { fileProblems, indexProblems, postgresQuery, sqliteQuery, type Query } from "./invariants.ts";

/** Where a server keeps its data, and how that is taken away from it. */
export interface Place {
  readonly name: string;
  readonly home: string;
  readonly server: StartOptions;
  readonly cut?: ((server: Stowhouse, round: number) => Promise<StartOptions>) | undefined;
  /** Opens the index of a stopped server, and says where its files are if they are plain files. */
  open(server: StartOptions): { query: Query; close: () => Promise<void>; files?: string };
  close(): Promise<void>;
}

/** Short enough that bytes are collected and orphans removed while the rounds go on. */
const GRACE_MS = 5_000;
const CONFIG = {
  log: { level: "info", access: false },
  eviction: { interval: "200ms", grace: `${GRACE_MS}ms` },
  limits: { uploads: 100_000 },
};

const open = (server: StartOptions) => ({ ...sqliteQuery(path.join(server.data, "stowhouse.db")), files: path.join(server.data, "blobs") });

const newHome = () => mkdtemp(path.join(os.tmpdir(), "stowhouse-crash-"));

/** SQLite and plain files, as after `npm start`; ends by kill -9. */
export async function sqliteFiles(): Promise<Place> {
  const home = await newHome();
  return { name: "SQLite + files, kill -9", home, server: { data: path.join(home, "data"), config: CONFIG }, open, close: async () => {} };
}

/** PostgreSQL and S3, which live on; the server ends by kill -9. */
export async function postgresS3(): Promise<Place> {
  const home = await newHome();
  const [database, storage] = await Promise.all([startPostgres(), startVersitygw()]);
  const { bucket, accessKey: accessKeyId, secretKey: secretAccessKey, url: endpoint } = storage;
  const s3 = { bucket, endpoint, region: "us-east-1", pathStyle: true, accessKeyId, secretAccessKey, partSize: "5MiB" };
  return {
    name: "PostgreSQL + S3, kill -9",
    home,
    server: {
      data: path.join(home, "data"),
      config: { ...CONFIG, storages: { default: { type: "s3", s3 } }, database: { type: "postgres", url: database.url } },
    },
    open: () => postgresQuery(database.url),
    close: async () => {
      await storage.stop();
      await database.stop();
    },
  };
}

/** Written without a sync, when nobody syncs any more: were its bytes there after the cut, it would be no cut. */
const UNSYNCED = "unsynced";

/**
 * SQLite and plain files on a disk whose power goes off: the server is frozen, the disk's image copied as it is, and the
 * next server runs on the copy (core.md §4.2). What was not synced is not in the copy.
 */
export async function powerCut(): Promise<Place> {
  const home = await newHome();
  const imageOf = (round: number) => path.join(home, `disk-${round}.img`);
  const mountOf = (round: number) => path.join(home, `mnt-${round}`);
  const serverOf = (round: number): StartOptions => ({ data: path.join(mountOf(round), "data"), home, config: CONFIG });
  await makeImage(imageOf(0), "1G");
  let mounted: Mount = await mountImage(imageOf(0), mountOf(0));

  return {
    name: "SQLite + files, power cut",
    home,
    server: serverOf(0),
    open,
    cut: async (server, round) => {
      await freeze(server);
      await writeFile(path.join(mountOf(round - 1), UNSYNCED), Buffer.alloc(100_000, "x"));
      await run("cp", ["--sparse=always", imageOf(round - 1), imageOf(round)]);
      await server.kill("SIGKILL");
      await mounted.unmount();
      await rm(imageOf(round - 1));
      mounted = await mountImage(imageOf(round), mountOf(round));
      const kept = await readFile(path.join(mountOf(round), UNSYNCED)).catch(() => Buffer.alloc(0));
      if (kept.includes("x")) throw new Error("the simulated power cut kept bytes that were never synced: it proves nothing");
      return serverOf(round);
    },
    close: () => mounted.unmount(),
  };
}

/** Stops a process and waits until every thread of it stands still. */
async function freeze(server: Stowhouse): Promise<void> {
  server.child.kill("SIGSTOP");
  for (let i = 0; i < 1_000; i++) {
    const states = await Promise.all((await readdir(`/proc/${server.pid}/task`)).map(async (task) => (await readFile(`/proc/${server.pid}/task/${task}/stat`, "utf8")).replace(/^.*\) /, "")[0]));
    if (states.every((state) => state === "T")) return;
    await setTimeout(5);
  }
  throw new Error("the server does not stand still");
}

/** Lets the server repair what the last cut left, once its grace is over, and looks whether everything adds up then. */
export async function settle(place: Place, server: StartOptions): Promise<string[]> {
  await setTimeout(GRACE_MS);
  const again = await startStowhouse(server);
  try {
    for (let i = 0; !again.output().includes('"repair finished"'); i++) {
      if (i > 600 || !again.alive()) return [`repair did not finish:\n${again.output().slice(-2_000)}`];
      await setTimeout(100);
    }
    // Blobs that lost their last entry are collected by the next pass.
    await setTimeout(1_000);
    await again.stop();
  } finally {
    await again.kill();
  }
  const { query, files, close } = place.open(server);
  try {
    return [...(await indexProblems(query)), ...(files ? await fileProblems(files, query) : [])];
  } finally {
    await close();
  }
}

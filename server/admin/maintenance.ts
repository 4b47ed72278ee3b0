import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import { errors } from "../core/errors.ts";
import type { EvictionPlan, EvictionReason } from "../core/eviction-plan.ts";
import type { PassReport } from "../core/maintenance.ts";
import type { RepairReport } from "../core/repair.ts";
import { recordOf, type AdminContext } from "./context.ts";
import { Job, type JobState } from "../core/job.ts";
import { operation } from "./operation.ts";
import { Count, iso, nullable, strict, Time } from "./schema.ts";

const GcAnswer = Type.Object({
  evicted: Type.Integer({ description: "Entries removed to make room or because their time was over." }),
  evictedBytes: Count,
  uploads: Type.Integer({ description: "Uploads given up because nobody went on with them." }),
  collected: Type.Integer({ description: "Blobs deleted because no entry needs them any more." }),
});

export type GcView = Static<typeof GcAnswer>;

const Reason = Type.Unsafe<EvictionReason>({ type: "string", enum: ["expired", "idle", "untrusted_share", "quota", "disk"] });
const GcPlanAnswer = Type.Object({
  entries: Count,
  bytes: Count,
  cut: Type.Boolean({ description: "There are more than were looked at." }),
  sums: Type.Array(Type.Object({ cache: Type.String(), keyspace: Type.String(), reason: Reason, entries: Count, bytes: Count })),
  first: Type.Array(
    Type.Object({ cache: Type.String(), keyspace: Type.String(), scope: Type.String(), key: Type.String(), version: Type.String(), size: Count, used: Time, reason: Reason }),
    { description: "The first thousand, in the order in which they would go." },
  ),
});

export type GcPlanView = Static<typeof GcPlanAnswer>;

function planAnswer({ sums, first, full }: EvictionPlan): GcPlanView {
  const all = [...sums.values()];
  return {
    entries: all.reduce((count, { entries }) => count + entries, 0),
    bytes: all.reduce((count, { bytes }) => count + bytes, 0),
    cut: full,
    sums: all,
    first: first.map(({ entry: { cache, keyspace, scope, key, version, size, accessed }, reason }) => ({ cache, keyspace, scope, key, version, size, used: iso(accessed), reason })),
  };
}

const FsckOptions = strict({
  verify: Type.Optional(Type.Boolean({ description: "Read every body and compare its hash." })),
  dryRun: Type.Optional(Type.Boolean({ description: "Only count." })),
});
const FsckAnswer = Type.Object({
  number: Type.Integer({ description: "Counts the runs since the start of this process; 0: none yet." }),
  state: Type.Unsafe<"idle" | "running" | "done" | "failed">({ type: "string", enum: ["idle", "running", "done", "failed"] }),
  verify: Type.Boolean(),
  dryRun: Type.Boolean(),
  started: nullable(Time),
  finished: nullable(Time),
  report: nullable(
    Type.Object({
      blobs: Type.Integer({ description: "Blobs looked at so far." }),
      missing: Type.Integer({ description: "Blobs whose bytes are gone; their entries were removed." }),
      corrupt: Type.Integer({ description: "Blobs whose bytes are not theirs; their entries were removed." }),
      orphans: Type.Integer({ description: "Files nothing knows; they were deleted." }),
      swept: Type.Integer({ description: "Left-overs of unfinished writes; they were deleted." }),
      unreadable: Type.Integer({ description: "Blobs that could not be read just now; they were left alone." }),
    }),
  ),
  error: nullable(Type.String()),
});

export type FsckView = Static<typeof FsckAnswer>;

type Fsck = { verify: boolean; dryRun: boolean };

function answerOf(job: JobState<Fsck, RepairReport>): FsckView {
  const time = (ms: number | null) => (ms === null ? null : iso(ms));
  const { number, state, options, report, error } = job;
  return { number, state, verify: options?.verify ?? false, dryRun: options?.dryRun ?? false, started: time(job.started), finished: time(job.finished), report, error };
}

/** `/v1/admin/gc` and `/v1/admin/fsck`: what the server does by itself, now. */
export function registerMaintenance(app: FastifyInstance, { core }: AdminContext): void {
  let collecting: Promise<PassReport> | undefined;
  app.post(
    "/gc",
    operation("gc", "Evicts and deletes what is due, now; answers when it is done", { response: { 200: GcAnswer } }),
    async (request) => {
      core.journal.audit(recordOf(request, "admin.gc"));
      collecting ??= core.maintenance.run().finally(() => (collecting = undefined));
      return collecting;
    },
  );

  app.get(
    "/gc",
    operation("gc.plan", "Says what the next pass would evict and why, and evicts nothing", { response: { 200: GcPlanAnswer } }),
    async () => planAnswer(await core.evictor.plan()),
  );

  const fsck = new Job<Fsck, RepairReport>((options, signal, onProgress) => core.repair({ ...options, signal, onProgress }));
  app.addHook("preClose", () => fsck.close());

  app.post<{ Body: Static<typeof FsckOptions> }>(
    "/fsck",
    operation("fsck.start", "Makes index and storages agree, in the background", { body: FsckOptions, response: { 202: FsckAnswer } }),
    async (request, reply) => {
      const { verify = false, dryRun = false } = request.body;
      const record = recordOf(request, "admin.fsck");
      const running = fsck.start({ verify, dryRun });
      if (!running) throw errors.busy("An fsck is running already; GET /v1/admin/fsck shows it.");
      void running.then(() => core.journal.audit({ ...record, at: Date.now(), key: JSON.stringify(fsck.state.report), result: fsck.state.state }));
      return reply.code(202).send(answerOf(fsck.state));
    },
  );

  app.get(
    "/fsck",
    operation("fsck.get", "Shows the fsck of this process that runs, or the last one", { response: { 200: FsckAnswer } }),
    async () => answerOf(fsck.state),
  );
}

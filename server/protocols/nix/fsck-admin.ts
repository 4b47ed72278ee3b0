import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import { errors } from "../../core/errors.ts";
import { Job, type JobState } from "../../core/job.ts";
import type { ProtocolContext } from "../protocol.ts";
import { administered, administration } from "./admin.ts";
import { nixFsck, type NixFsckOptions, type NixFsckReport } from "./fsck.ts";
import type { NixOptions } from "./options.ts";

const Count = (description: string) => Type.Integer({ description });
const Report = Type.Object({
  narInfos: Count("Narinfos looked at so far."),
  nars: Count("NARs looked at so far."),
  lost: Count("Narinfos whose NAR is gone."),
  wrong: Count("Narinfos that don't say what their NAR is."),
  corrupt: Count("NARs whose bytes are not what their name says."),
  unused: Count("NARs no narinfo names."),
  missingReferences: Count("References to paths that are not here; others may have them."),
  unverified: Count("NARs whose NarHash could not be verified."),
  unreadable: Count("Could not be read just now; they were left alone."),
  removed: Count("Entries that were removed."),
  findings: Type.Array(Type.Object({ cache: Type.String(), scope: Type.String(), fault: Type.String(), key: Type.String(), what: Type.String() }), { description: "The first thousand." }),
});
const Answer = Type.Object({
  number: Count("Counts the runs since the start of this process; 0: none yet."),
  state: Type.Unsafe<"idle" | "running" | "done" | "failed">({ type: "string", enum: ["idle", "running", "done", "failed"] }),
  verify: Type.Boolean(),
  repair: Type.Boolean(),
  started: Type.Unsafe<string | null>({ type: "string", nullable: true }),
  finished: Type.Unsafe<string | null>({ type: "string", nullable: true }),
  report: Type.Unsafe<Static<typeof Report> | null>({ ...Report, nullable: true }),
  error: Type.Unsafe<string | null>({ type: "string", nullable: true }),
});

export type NixFsckView = Static<typeof Answer>;

interface Query {
  readonly cache?: string;
  readonly verify?: boolean;
  readonly repair?: boolean;
}

function answerOf({ number, state, options, started, finished, report, error }: JobState<NixFsckOptions, NixFsckReport>): NixFsckView {
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return { number, state, verify: options?.verify ?? false, repair: options?.repair ?? false, started: time(started), finished: time(finished), report, error };
}

/** `/v1/admin/nix/fsck`: whether paths, NARs and references agree. */
export function registerNixFsck(app: FastifyInstance, context: ProtocolContext<NixOptions>): void {
  const { core, options } = context;
  const path = "/v1/admin/nix/fsck";
  const job = new Job<NixFsckOptions, NixFsckReport>((how, signal, progress) => nixFsck({ ...how, core, storeDir: options.storeDir, signal, progress }));
  app.addHook("preClose", () => job.close());

  app.post<{ Querystring: Query }>(
    path,
    administered(context, "fsck.start", {
      summary: "Looks whether paths, NARs and references of Nix caches agree, in the background",
      querystring: Type.Object({
        cache: Type.Optional(Type.String({ description: "Only this cache." })),
        verify: Type.Optional(Type.Boolean({ description: "Read every NAR and compare FileHash and NarHash." })),
        repair: Type.Optional(Type.Boolean({ description: "Remove what is lost, wrong, corrupt or unused." })),
      }, { additionalProperties: false }),
      response: { 202: Answer },
    }),
    async (request, reply) => {
      const { cache, verify = false, repair = false } = request.query;
      if (cache !== undefined) core.caches.require(cache);
      const record = administration(request, "admin.nix.fsck", { cache: cache ?? "" });
      const running = job.start({ cache, verify, repair });
      if (!running) throw errors.busy("An fsck of Nix caches is running already; GET /v1/admin/nix/fsck shows it.");
      void running.then(() => {
        const { findings: _, ...counts } = job.state.report ?? { findings: [] };
        core.journal.audit({ ...record, at: Date.now(), key: JSON.stringify(counts), result: job.state.state });
      });
      return reply.code(202).send(answerOf(job.state));
    },
  );

  app.get(path, administered(context, "fsck.get", { summary: "Shows the fsck of Nix caches of this process that runs, or the last one", response: { 200: Answer } }), async () => answerOf(job.state));
}

import type { Command } from "commander";
import { errors } from "../core/errors.ts";
import type { NixFsckView } from "../protocols/nix/fsck-admin.ts";
import type { MadePinView, PinView } from "../protocols/nix/pin-admin.ts";
import type { Io } from "./io.ts";
import { finished } from "./job.ts";
import { connect, printJson, remote, whole, type RemoteOptions } from "./remote.ts";
import { printable, table } from "./table.ts";
import { agoWords, sizeWords } from "./words.ts";

/** A closure of a hundred thousand paths takes a while to walk. */
const PIN_MS = 120_000;
/** Findings that are printed; --json has more. */
const SHOWN = 50;

interface Where extends RemoteOptions {
  readonly cache?: string;
  readonly scope?: string;
}

interface PinOptions extends Where {
  readonly artifact?: string[];
  readonly days?: number;
  readonly revisions?: number;
  readonly forever?: boolean;
}

interface FsckOptions extends RemoteOptions {
  readonly cache?: string;
  readonly verifyContent?: boolean;
  readonly repair?: boolean;
  readonly dryRun?: boolean;
}

/** `stowhouse nix`: pins and fsck of Nix caches. */
export function registerNixCommands(program: Command, io: Io): void {
  const nix = program.command("nix").description("Keep closures of Nix caches, and check them.");

  where(remote(nix, "pin", "Keep a store path and all it refers to, whatever eviction and retention say."))
    .argument("<name>", "what the pin is called; a name that is there gets another revision")
    .argument("<store-path>", "/nix/store/…")
    .option("--artifact <paths...>", "paths below it to tell its users of")
    .option("--days <n>", "each revision stays for so many days", whole(1, 36_500))
    .option("--revisions <n>", "so many of the latest revisions stay (default: as before, at first 1)", whole(1, 400))
    .option("--forever", "all revisions stay")
    .action(async (name: string, storePath: string, options: PinOptions) => {
      const made = await connect(options, io).post<MadePinView>("/nix/pins", { cache: options.cache, scope: options.scope, name, storePath, artifacts: options.artifact, keep: keepOf(options) }, PIN_MS);
      if (options.json) return printJson(io, made);
      const { pin, missing } = made;
      io.stdout.write(`${pin.name} revision ${pin.revision}: ${pin.paths} paths (${sizeWords(pin.bytes)}) stay ${keepWords(pin)}.\n`);
      if (pin.missing === 0) return;
      const names = missing.map((path) => `  ${printable(path)}\n`).join("");
      io.stderr.write(`${pin.missing} paths it refers to are not here, or their NARs are not; they will stay if they come:\n${names}${missing.length < pin.missing ? "  …\n" : ""}`);
    });

  where(remote(nix, "unpin", "Let go of a pin: what nothing else keeps may be evicted again."))
    .argument("<name>", "what the pin is called")
    .option("--revision <n>", "only this revision", whole(1, 1_000_000_000))
    .action(async (name: string, options: Where & { revision?: number }) => {
      const { cache, scope, revision } = options;
      const done = await connect(options, io).delete<{ revisions: number }>("/nix/pins", { cache, scope, name, revision });
      if (options.json) return printJson(io, done);
      io.stdout.write(`${done.revisions} ${done.revisions === 1 ? "revision" : "revisions"} of ${name} unpinned.\n`);
    });

  where(remote(nix, "pins", "List pins, of all scopes unless one is named.")).action(async (options: Where) => {
    const { pins } = await connect(options, io).get<{ pins: PinView[] }>("/nix/pins", { cache: options.cache, scope: options.scope });
    if (options.json) return printJson(io, pins);
    const rows = pins.map((pin) => [pin.name, String(pin.revision), pin.storePath, String(pin.paths), sizeWords(pin.bytes), keepWords(pin), agoWords(pin.created, Date.now()), pin.scope]);
    io.stdout.write(table(["NAME", "REVISION", "STORE PATH", "PATHS", "SIZE", "STAYS", "CREATED", "SCOPE"], rows).text);
  });

  remote(nix, "fsck", "Look whether paths, NARs and references agree; the server works on meanwhile.")
    .option("--cache <name>", "only this cache (default: all)")
    .option("--verify-content", "read every NAR and compare FileHash and NarHash")
    .option("--repair", "remove what is lost, wrong, corrupt or unused")
    .option("-n, --dry-run", "only say what is wrong (default without --repair)")
    .action(async (options: FsckOptions) => {
      const { cache, verifyContent: verify = false, dryRun = false } = options;
      const repair = (options.repair ?? false) && !dryRun;
      const query = new URLSearchParams({ ...(cache === undefined ? {} : { cache }), verify: String(verify), repair: String(repair) });
      const client = connect(options, io);
      const done = await finished(client, "/nix/fsck", await client.post<NixFsckView>(`/nix/fsck?${query.toString()}`), ({ report }) => `${report?.nars ?? 0} NARs and ${report?.narInfos ?? 0} narinfos`, io);
      if (options.json) printJson(io, done);
      else io.stdout.write(fsckWords(done));
      const left = faultsOf(done);
      if (left > 0) throw errors.incomplete(repair ? `${left} could not be read or removed` : `${left} faults are left; --repair removes what is at fault`);
    });
}

function where(command: Command): Command {
  return command.option("--cache <name>", "cache (default: default)").option("--scope <scope>", "scope (default: the cache's)");
}

/** @throws badRequest for more than one */
function keepOf({ days, revisions, forever }: PinOptions): object | undefined {
  const keep = { ...(days !== undefined && { days }), ...(revisions !== undefined && { revisions }), ...(forever && { forever }) };
  if (Object.keys(keep).length > 1) throw errors.badRequest("say one of --days, --revisions and --forever");
  return Object.keys(keep).length === 0 ? undefined : keep;
}

function keepWords({ keep, expires }: PinView): string {
  if (expires !== null) return `until ${expires.slice(0, 10)}`;
  if (keep.forever) return "for ever";
  return keep.revisions === 1 ? "until the next revision" : `until ${keep.revisions} more revisions`;
}

/** What is still at fault. */
function faultsOf({ report, repair }: NixFsckView): number {
  const { lost = 0, wrong = 0, corrupt = 0, unused = 0, unreadable = 0, removed = 0 } = report ?? {};
  return unreadable + (repair ? Math.max(0, lost + wrong + corrupt + unused - removed) : lost + wrong + corrupt + unused);
}

function fsckWords({ report, verify, repair }: NixFsckView): string {
  if (!report) return "";
  const { findings, ...counts } = report;
  const faults = findings.filter(({ fault }) => fault !== "missing reference");
  const shown = faults.slice(0, SHOWN).map(({ fault, cache, scope, key, what }) => printable(`${fault}: ${key} (${cache}, ${scope}): ${what}`));
  const more = counts.lost + counts.wrong + counts.corrupt + counts.unused - shown.length;
  return [
    ...shown,
    ...(more > 0 ? [`… and ${more} more; --json names a thousand`] : []),
    `${counts.narInfos} narinfos and ${counts.nars} NARs looked at${verify ? ", every byte of them read" : ""}.`,
    `${counts.lost} without their NAR, ${counts.wrong} wrong; ${counts.corrupt} NARs corrupt, ${counts.unused} unused${repair ? `: ${counts.removed} removed` : ""}.`,
    `${counts.missingReferences} references to paths that are not here; clients ask others for them.`,
    ...(counts.unverified > 0 ? [`${counts.unverified} NARs whose NarHash is unverified: nothing here unpacks them. Clients verify it.`] : []),
    ...(counts.unreadable > 0 ? [`${counts.unreadable} could not be read just now; they were left alone.`] : []),
    "",
  ].join("\n");
}

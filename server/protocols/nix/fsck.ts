import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { chunksOf } from "../../core/bodies.ts";
import type { Core } from "../../core/core.ts";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors, StowError } from "../../core/errors.ts";
import { SHARED_SCOPE } from "../../core/scope.ts";
import { Places } from "../../http/limits.ts";
import { NARINFOS, NARS } from "./keyspaces.ts";
import { parseNarUrl } from "./nar-url.ts";
import { NarInspector, type NarContent } from "./nar-content.ts";
import { parseNarInfo, type NarInfo } from "./narinfo.ts";
import { contentOf, described } from "./nars.ts";
import { parseBaseName } from "./store-path.ts";
import { ORIGINS, PULLED } from "./upstream/pulled.ts";
import { WireError } from "../wire.ts";

const PAGE = 500;
/** A NAR is sent before the narinfo that names it; younger ones may still get theirs, ms. */
const GRACE_MS = 60 * 60_000;
/** Findings that are named one by one. */
const NAMED = 1_000;
/** So many bodies in a row that can't be read mean that the storage is away: another time, then. */
const MAX_UNREADABLE = 20;

/** What can be wrong with a path or a NAR. */
export type Fault = "lost" | "wrong" | "corrupt" | "unused";

export interface Finding {
  readonly cache: string;
  readonly scope: string;
  readonly fault: Fault | "missing reference";
  /** The hash in the store path, or the SHA-256 of the NAR's file. */
  readonly key: string;
  readonly what: string;
}

export interface NixFsckReport {
  /** Looked at. */
  narInfos: number;
  nars: number;
  /** Narinfos whose NAR is gone. */
  lost: number;
  /** Narinfos that don't say what their NAR is: its hash, sizes or compression; or that can't be read. */
  wrong: number;
  /** NARs whose bytes are not what their name says (only with `verify`). */
  corrupt: number;
  /** NARs no narinfo names, an hour after they came. */
  unused: number;
  /** References to paths that are not here; others may have them. */
  missingReferences: number;
  /** NARs whose NarHash nobody could verify: what unpacks them is not installed, or unknown. */
  unverified: number;
  /** Could not be read just now; nothing was done to them. */
  unreadable: number;
  /** Entries removed (only with `repair`). */
  removed: number;
  /** The first thousand. */
  findings: Finding[];
}

export interface NixFsckOptions {
  /** Only this cache. */
  readonly cache?: string | undefined;
  /** Read every NAR and compare FileHash and NarHash. */
  readonly verify: boolean;
  /** Remove what is lost, wrong, corrupt or unused. */
  readonly repair: boolean;
}

interface Run extends NixFsckOptions {
  readonly core: Core;
  readonly storeDir: string;
  readonly signal: AbortSignal;
  readonly progress: (soFar: NixFsckReport) => void;
}

/** Looks whether paths, NARs and references of caches agree; NARs first, so that a narinfo of a corrupt one is lost. @throws readFailure */
export async function nixFsck(run: Run): Promise<NixFsckReport> {
  const report: NixFsckReport = { narInfos: 0, nars: 0, lost: 0, wrong: 0, corrupt: 0, unused: 0, missingReferences: 0, unverified: 0, unreadable: 0, removed: 0, findings: [] };
  for (const { name, defaultScope } of run.core.caches.list()) {
    if (run.cache !== undefined && run.cache !== name) continue;
    const check = new CacheCheck(run, report, name, defaultScope);
    await check.nars();
    await check.narInfos();
    await check.pulled();
    await check.unused();
  }
  return report;
}

class CacheCheck {
  readonly #run: Run;
  readonly #report: NixFsckReport;
  readonly #cache: string;
  readonly #defaultScope: string;
  readonly #places = new Places(1, 1);
  /** NARs something names, as numbers: two that share one hide an unused one, no more. */
  readonly #named = new Set<number>();
  /** What was found in NARs that nobody had verified, or not rightly; and which NARs are bad. */
  readonly #content = new Map<string, NarContent>();
  readonly #bad = new Set<string>();

  constructor(run: Run, report: NixFsckReport, cache: string, defaultScope: string) {
    this.#run = run;
    this.#report = report;
    this.#cache = cache;
    this.#defaultScope = defaultScope;
  }

  async nars(): Promise<void> {
    let unreadable = 0;
    for await (const listed of this.#entries(NARS)) {
      const nar = await this.#whole(listed);
      if (!nar) continue;
      this.#report.nars++;
      if (!this.#run.verify) {
        if (contentOf(nar).narHash === undefined) this.#report.unverified++;
        continue;
      }
      const state = await this.#verify(nar);
      unreadable = state === "unreadable" ? unreadable + 1 : 0;
      if (unreadable === MAX_UNREADABLE) throw errors.readFailure();
      if (state === "unreadable" || state === "unverified") this.#report[state]++;
      if (state === "corrupt") await this.#fault("corrupt", nar, "its bytes are not what its name says");
    }
  }

  async #verify(nar: Entry): Promise<"ok" | "corrupt" | "unverified" | "unreadable"> {
    const { core } = this.#run;
    const inspector = new NarInspector(core.caches.require(this.#cache).entrySize, this.#places);
    const hash = createHash("sha256");
    try {
      const body = await core.bodies.open(nar);
      try {
        for await (const chunk of inspector.pass(chunksOf(body))) hash.update(chunk);
      } finally {
        await body.close();
      }
    } catch (error) {
      const refusal = error instanceof StowError ? error.refusal : undefined;
      // Opening it has taken it out of the catalog: narinfos that name it are lost.
      if (refusal === "notFound") return "ok";
      return refusal === "badRequest" ? "corrupt" : "unreadable";
    }
    if (hash.digest("hex") !== nar.key) return "corrupt";
    const content = described(nar, inspector.content);
    if (content.narHash !== contentOf(nar).narHash) this.#content.set(nar.key, content);
    return content.narHash === undefined ? "unverified" : "ok";
  }

  async narInfos(): Promise<void> {
    for await (const listed of this.#entries(NARINFOS)) {
      this.#report.narInfos++;
      const problem = await this.#problem(listed);
      if (problem) await this.#fault(problem.fault, listed, problem.what);
    }
  }

  async #problem(entry: Entry): Promise<{ fault: Fault; what: string } | undefined> {
    const info = await this.#read(entry);
    if (info === "gone") return undefined;
    if (typeof info === "string") return { fault: "wrong", what: info };
    if (parseBaseName(info.storePath)!.hash !== entry.key) return { fault: "wrong", what: "it is of another path" };
    const key = parseNarUrl(info.url);
    if (key === undefined) return { fault: "wrong", what: "its URL names no NAR of ours" };
    const nar = await this.#get(NARS, SHARED_SCOPE, key);
    if (!nar || this.#bad.has(key)) return { fault: "lost", what: `${info.storePath}: its NAR ${nar ? "is corrupt" : "is gone"}` };
    this.#named.add(numberOf(key));
    const { compression, narHash, narSize } = this.#content.get(key) ?? contentOf(nar);
    const wrong =
      (info.fileHash !== undefined && info.fileHash !== key && "FileHash") ||
      (info.fileSize !== undefined && info.fileSize !== nar.size && `FileSize ${info.fileSize} of ${nar.size}`) ||
      (compression !== undefined && compression !== info.compression && `Compression ${info.compression} of ${compression}`) ||
      (narHash !== undefined && narHash !== info.narHash && "NarHash") ||
      (narSize !== undefined && narSize !== info.narSize && `NarSize ${info.narSize} of ${narSize}`);
    if (wrong) return { fault: "wrong", what: `${info.storePath}: ${wrong}` };
    await this.#references(entry, info);
    return undefined;
  }

  async #references(entry: Entry, { storePath, references }: NarInfo): Promise<void> {
    for (const reference of references) {
      if (reference === storePath) continue;
      const { hash } = parseBaseName(reference)!;
      const here = (await this.#get(NARINFOS, entry.scope, hash)) ?? (await this.#get(NARINFOS, this.#defaultScope, hash)) ?? (await this.#get(PULLED, "*upstream", hash));
      if (here) continue;
      this.#report.missingReferences++;
      this.#name({ cache: this.#cache, scope: entry.scope, fault: "missing reference", key: entry.key, what: `${storePath} refers to ${reference}` });
    }
  }

  /** What upstreams' paths name. They are fetched again when they are asked for, so nothing is wrong with them. */
  async pulled(): Promise<void> {
    for (const keyspace of [PULLED, ORIGINS]) {
      for await (const listed of this.#entries(keyspace)) {
        const { nar, digest } = JSON.parse((await this.#whole(listed))?.metadata ?? "{}") as { nar?: string; digest?: string };
        for (const key of [nar, digest]) if (key !== undefined) this.#named.add(numberOf(key));
      }
    }
  }

  async unused(): Promise<void> {
    const before = Date.now() - GRACE_MS;
    for await (const nar of this.#entries(NARS)) {
      if (nar.created > before || nar.accessed > before || this.#named.has(numberOf(nar.key)) || this.#bad.has(nar.key)) continue;
      await this.#fault("unused", nar, `${nar.size} bytes`);
    }
  }

  async #fault(fault: Fault, entry: Entry, what: string): Promise<void> {
    const { core, repair } = this.#run;
    this.#report[fault]++;
    this.#name({ cache: this.#cache, scope: entry.scope, fault, key: entry.key, what });
    if (fault === "corrupt") this.#bad.add(entry.key);
    if (!repair) return;
    const audit = { at: Date.now(), actor: "server", action: "repair", cache: this.#cache, keyspace: entry.keyspace, scope: entry.scope, key: entry.key, size: entry.size, result: `nix ${fault}`, address: "" };
    if (fault === "corrupt" && entry.blob) {
      // With its row, or the right bytes would be taken for a duplicate of the wrong ones when they come.
      await core.bodies.removeFiles(await core.catalog.loseBlob(entry.blob.id, audit));
      this.#report.removed++;
      return;
    }
    // A narinfo may have come to need an unused one meanwhile.
    this.#report.removed += (await core.catalog.removeIds([entry.id], audit, fault === "unused")).length;
  }

  #name(finding: Finding): void {
    if (this.#report.findings.length < NAMED) this.#report.findings.push(finding);
  }

  /** "gone": since it was listed. Other words say what is wrong. */
  async #read(entry: Entry): Promise<NarInfo | string> {
    let bytes: Buffer;
    try {
      bytes = await this.#run.core.bodies.bytes(entry);
    } catch (error) {
      if (!(error instanceof StowError) || error.refusal !== "notFound") this.#report.unreadable++;
      return "gone";
    }
    try {
      return parseNarInfo(bytes.toString("utf8"), this.#run.storeDir);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return `it can't be read: ${error.message}`;
    }
  }

  async #get(keyspace: Keyspace, scope: string, key: string): Promise<Entry | undefined> {
    return this.#run.core.database.read("getEntry", { cache: this.#cache, keyspace: keyspace.name, scope, key, version: "" });
  }

  /** With its metadata, which lists leave out. */
  async #whole({ id }: Entry): Promise<Entry | undefined> {
    return this.#run.core.database.read("entryById", { id });
  }

  async *#entries(keyspace: Keyspace): AsyncGenerator<Entry> {
    for (let before: number | undefined; ; ) {
      const page = await this.#run.core.database.scan("listEntries", { cache: this.#cache, keyspace: keyspace.name, now: Date.now(), limit: PAGE, ...(before !== undefined && { before }) });
      for (const entry of page) {
        this.#run.signal.throwIfAborted();
        yield entry;
      }
      this.#run.progress({ ...this.#report });
      if (page.length < PAGE) return;
      before = page.at(-1)!.id;
      await turn();
    }
  }
}

/** @param key SHA-256 in hex */
function numberOf(key: string): number {
  return Number.parseInt(key.slice(0, 13), 16);
}

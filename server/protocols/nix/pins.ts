import { auditOf } from "../../core/bodies.ts";
import type { Core } from "../../core/core.ts";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors, StowError } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { closureOf, type Closure, type ClosurePath } from "./closure.ts";
import { NARINFOS } from "./keyspaces.ts";
import { parseNarInfo } from "./narinfo.ts";
import type { NarInfos } from "./narinfos.ts";
import { narName } from "./needs.ts";
import type { Nars } from "./nars.ts";
import { MAX_REVISIONS, type Keep, type PinRequest } from "./pin-wire.ts";
import { parseBaseName } from "./store-path.ts";
import type { UpstreamSource } from "./upstream/source.ts";

/** By the name of the pin; the version is the revision's number, and the body a Pinned. */
export const PINS: Keyspace = { name: "nix-pin", maxKeyLength: 800 };

const DAY_MS = 86_400_000;
/** Of one scope: each walks a closure when it is made, and all are listed at once. */
const MAX_PINS = 2_000;
/** Names one pin keeps beside what follows from its path: a closure from upstreams has three a path. */
const MAX_NAMES = 50_000;
const PAGE = 500;
const MAX_TRIES = 4;

interface Pinned {
  /** Base name. */
  readonly storePath: string;
  readonly artifacts: readonly string[];
  readonly keep: Keep;
  /** When it was made. */
  readonly paths: number;
  readonly bytes: number;
  readonly missing: number;
}

export interface Pin extends Pinned {
  readonly name: string;
  readonly revision: number;
  readonly scope: string;
  readonly created: number;
  readonly expires: number | null;
}

type Writer = Grant & { readonly write: string };

/** Closures that stay, whatever eviction and retention say. They count against the quota like everything else. */
export class Pins {
  readonly #core: Core;
  readonly #storeDir: string;
  readonly #nars: Nars;
  readonly #narInfos: NarInfos;
  readonly #upstream: UpstreamSource;

  constructor(parts: { core: Core; storeDir: string; nars: Nars; narInfos: NarInfos; upstream: UpstreamSource }) {
    this.#core = parts.core;
    this.#storeDir = parts.storeDir;
    this.#nars = parts.nars;
    this.#narInfos = parts.narInfos;
    this.#upstream = parts.upstream;
  }

  /**
   * Makes the next revision of a pin in the grant's own scope; one of the same path as the last takes that one's place.
   * @throws notFound when the path is not here, badRequest beyond the limits, and what Bodies.put throws
   */
  async add(grant: Writer, request: PinRequest, address = ""): Promise<{ pin: Pin; closure: Closure }> {
    const closure = await closureOf(request.storePath, (hash) => this.#find(grant, hash));
    if (closure.paths === 0) throw errors.notFound();
    if (closure.cut || closure.names.length > MAX_NAMES) throw errors.badRequest("its closure is too large to be pinned");
    const root = parseBaseName(request.storePath)!.hash;
    const { entry } = await this.#core.catalog.get(grant, NARINFOS, root);
    const needs = [...closure.names, { keyspace: NARINFOS.name, scope: entry?.scope ?? grant.write, key: root }];
    for (let tries = 1; ; tries++) {
      const scope = await this.list(grant, [grant.write]);
      if (scope.length >= MAX_PINS) throw errors.badRequest(`${grant.write} has ${MAX_PINS} pinned revisions; unpin some`);
      const before = scope.filter((pin) => pin.name === request.name);
      const last = before.at(-1);
      const keep = request.keep ?? last?.keep ?? { revisions: 1 };
      const pinned: Pinned = { storePath: request.storePath, artifacts: request.artifacts, keep, paths: closure.paths, bytes: closure.bytes, missing: closure.missingCount };
      const revision = (last?.revision ?? 0) + 1;
      const expires = typeof keep === "object" && "days" in keep ? Date.now() + keep.days * DAY_MS : null;
      try {
        const put = await this.#core.bodies.put(grant, PINS, request.name, Buffer.from(JSON.stringify(pinned)), { version: String(revision), expires, needs, kept: true, address });
        const most = typeof keep === "object" && "revisions" in keep ? keep.revisions : MAX_REVISIONS;
        // Only now: between the two the closure would be free to go.
        const others = last?.storePath === request.storePath ? before.slice(0, -1) : before;
        await this.#drop(grant, request.name, [...before.filter((pin) => !others.includes(pin)), ...others.slice(0, Math.max(0, others.length + 1 - most))], address);
        return { pin: { ...pinned, name: request.name, revision, scope: grant.write, created: put.entry.created, expires }, closure };
      } catch (error) {
        // Another one has made this revision meanwhile.
        if (!(error instanceof StowError) || error.refusal !== "exists" || tries === MAX_TRIES) throw error;
      }
    }
  }

  /** Takes a pin out of the grant's own scope, or one revision of it; returns how many revisions went. @throws writeFailure */
  async remove(grant: Writer, name: string, revision?: number, address = ""): Promise<number> {
    const pins = (await this.list(grant, [grant.write])).filter((pin) => pin.name === name && (revision === undefined || pin.revision === revision));
    return this.#drop(grant, name, pins, address);
  }

  /** All pins of these scopes, by scope and name, the latest revision last. @throws readFailure */
  async list({ cache }: Pick<Grant, "cache">, scopes?: readonly string[]): Promise<Pin[]> {
    const pins: Pin[] = [];
    for (let before: number | undefined; ; ) {
      const query = { cache, keyspace: PINS.name, now: Date.now(), limit: PAGE, ...(before !== undefined && { before }), ...(scopes && { scopes }) };
      const entries = await this.#core.database.scan("listEntries", query);
      for (const entry of entries) pins.push(await this.#read(entry));
      before = entries.at(-1)?.id;
      if (entries.length < PAGE) break;
    }
    const order = ({ scope, name }: Pin) => `${scope}\n${name}`;
    return pins.toSorted((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : a.revision - b.revision));
  }

  async #read(entry: Entry): Promise<Pin> {
    const pinned = JSON.parse((await this.#core.bodies.bytes(entry)).toString("utf8")) as Pinned;
    return { ...pinned, name: entry.key, revision: Number(entry.version), scope: entry.scope, created: entry.created, expires: entry.expires };
  }

  async #drop(grant: Writer, name: string, pins: readonly Pin[], address: string): Promise<number> {
    let gone = 0;
    for (const { revision } of pins) {
      const audit = auditOf(grant, "unpin", PINS.name, grant.write, name, 0, address);
      if (await this.#core.catalog.remove(grant, PINS, name, String(revision), audit)) gone++;
    }
    return gone;
  }

  /** What the cache has of a path itself, else what it has kept of an upstream's. */
  async #find(grant: Writer, hash: string): Promise<ClosurePath | undefined> {
    const own = await this.#narInfos.find(grant, hash);
    if (own) {
      // In its writer's own scope it follows from who refers to it.
      const names = own.entry.scope === grant.write ? [] : [{ keyspace: NARINFOS.name, scope: own.entry.scope, key: hash }];
      return { info: await this.#narInfos.read(own.entry), size: own.nar.size, names };
    }
    const kept = await this.#upstream.proxies.get(grant.cache)?.kept(hash);
    if (!kept) return undefined;
    const { nar, names } = kept;
    const { entry } = await this.#nars.get(grant, nar);
    return { info: parseNarInfo((await this.#core.bodies.bytes(kept.entry)).toString("utf8"), this.#storeDir), size: entry?.size, names: [...names, narName(nar)] };
  }
}

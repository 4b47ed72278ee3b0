import type { Lookup } from "../../core/catalog.ts";
import type { Core } from "../../core/core.ts";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { assertOutput, AT_ONCE, verified } from "./outputs.ts";
import { MAX_BUNDLED, MAX_SMALL, type Output } from "./wire.ts";

/** What an action put out: key is the action (hex), version the key prefix, body the output as it is stored. */
export const ACTIONS: Keyspace = { name: "go", maxKeyLength: 64, overwrite: true };
/** The same by output, for the old two-hop form of go-cacher; in caches that allow anonymous reads alone. */
export const OUTPUTS: Keyspace = { name: "go-output", maxKeyLength: 64, overwrite: true };

/** Neighbours of an action: so many that were stored before and after it, and bytes of them all. */
const BEFORE = 64;
const AFTER = 400;
const NEAR_BYTES = 16 * 1024 * 1024;

export interface Incoming {
  readonly action: string;
  readonly prefix: string;
  readonly output: Output;
  /** Bytes of the stored form. */
  readonly stored: number;
  /** SHA-256 of the stored form, where the client says it (hex). */
  readonly digest?: string | undefined;
  readonly address: string;
}

/** Go's actions in a grant's scopes, with outputs verified on their way in. */
export class Actions {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  get(grant: Grant, action: string, prefix: string): Lookup | Promise<Lookup> {
    return this.#core.catalog.get(grant, ACTIONS, action, prefix);
  }

  /**
   * An action, and what was stored next to it: a build that uses one output of another build uses those around it too. They
   * come from the scope that the action itself comes from; those stored later first, because builds go from leaves to the root.
   * @throws notFound, readFailure
   */
  async near(grant: Grant, action: string, prefix: string): Promise<string[]> {
    const { entry } = await this.get(grant, action, prefix);
    if (!entry) throw errors.notFound();
    const neighbours = await this.#core.catalog.list({ ...grant, read: [entry.scope] }, { keyspace: ACTIONS.name, version: prefix, from: entry.id - BEFORE, before: entry.id + AFTER, limit: BEFORE + AFTER });
    const [later, earlier] = [neighbours.filter(({ id }) => id > entry.id).toReversed(), neighbours.filter(({ id }) => id < entry.id)];
    let bytes = 0;
    const fitting = [...later, ...earlier].filter(({ size }) => size <= MAX_SMALL && (bytes += size) <= NEAR_BYTES);
    return [action, ...fitting.map(({ key }) => key)];
  }

  /**
   * Stores an output of an action, replacing another of the own scope. The same output again costs one look-up.
   * @throws digestMismatch, and what Bodies.put throws
   */
  async put(grant: Grant & { readonly write: string }, body: AsyncIterable<Buffer> | Buffer, incoming: Incoming): Promise<void> {
    const { action, prefix, output, stored, digest, address } = incoming;
    const own = { ...grant, read: [grant.write] };
    const { entry: known } = await this.get(own, action, prefix);
    if (known && outputOf(known).output === output.output) {
      if (!Buffer.isBuffer(body)) for await (const _ of body);
      this.#core.catalog.touch(known, grant);
      return;
    }
    const { bodies, caches, catalog } = this.#core;
    const metadata = JSON.stringify(output);
    const { entry } = await bodies.put(grant, ACTIONS, action, await checked(body, output, stored), { version: prefix, size: stored, digest, overwrite: true, metadata, address });
    const cache = caches.require(grant.cache);
    if (!cache.anonymousRead || grant.write !== cache.defaultScope || stored > MAX_BUNDLED) return;
    if ((await catalog.get(own, OUTPUTS, output.output)).entry) return;
    await bodies.put(grant, OUTPUTS, output.output, await bodies.bytes(entry), { size: stored, overwrite: true, metadata, address });
  }
}

async function checked(body: AsyncIterable<Buffer> | Buffer, output: Output, stored: number): Promise<AsyncIterable<Buffer> | Buffer> {
  if (!Buffer.isBuffer(body) && (stored > AT_ONCE || output.size > AT_ONCE)) return verified(body, output);
  const bytes = Buffer.isBuffer(body) ? body : await whole(body, stored);
  assertOutput(bytes, output);
  return bytes;
}

async function whole(body: AsyncIterable<Buffer>, size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > size) break;
    chunks.push(chunk);
  }
  if (length !== size) throw errors.digestMismatch(`${length} bytes arrived, ${size} were announced`);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/** What an entry's metadata says of its output. */
export function outputOf(entry: Entry): Output {
  return JSON.parse(entry.metadata!) as Output;
}

import type { OpenBody } from "../../core/bodies.ts";
import type { Core } from "../../core/core.ts";
import { StowError } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { outputOf, type Actions } from "./actions.ts";
import { absent, fits, formatHead, MAX_BUNDLED, MAX_SMALL } from "./wire.ts";

/** Entries that are looked up and opened ahead of the one that is being sent: a storage far away takes its time for each. */
const AHEAD = 16;
/** Small records go out together, bytes. */
const FLUSH = 64 * 1024;

export type Push = (chunk: Buffer) => Promise<void>;

interface Loaded {
  readonly head: Buffer;
  readonly body?: Buffer | OpenBody;
}

/** Sends actions as records, in their order; what there is not, or is too large to be sent with others, as absent. */
export class RecordSender {
  readonly #core: Core;
  readonly #actions: Actions;

  constructor(core: Core, actions: Actions) {
    this.#core = core;
    this.#actions = actions;
  }

  /** @throws what `push` throws, readFailure when a body breaks off */
  async send(wanted: readonly string[], grant: Grant, prefix: string, push: Push): Promise<void> {
    let pending: Buffer[] = [];
    let bytes = 0;
    const add = (chunk: Buffer) => {
      pending.push(chunk);
      bytes += chunk.length;
    };
    const flush = async () => {
      if (bytes === 0) return;
      const joined = Buffer.concat(pending, bytes);
      pending = [];
      bytes = 0;
      await push(joined);
    };
    const loading: Promise<Loaded>[] = [];
    let next = 0;
    try {
      for (let i = 0; i < wanted.length; i++) {
        while (loading.length < AHEAD && next < wanted.length) {
          const load = this.#load(wanted[next++]!, grant, prefix);
          // Awaited in its turn.
          load.catch(() => {});
          loading.push(load);
        }
        const { head, body } = await loading.shift()!;
        add(head);
        if (Buffer.isBuffer(body)) add(body);
        else if (body) {
          try {
            await flush();
            await body.read(0, body.size, push);
          } finally {
            await body.close();
          }
        }
        if (bytes >= FLUSH) await flush();
      }
      await flush();
    } finally {
      for (const load of loading) void load.then(({ body }) => (body && !Buffer.isBuffer(body) ? body.close() : undefined)).catch(() => {});
    }
  }

  async #load(action: string, grant: Grant, prefix: string): Promise<Loaded> {
    const { entry } = await this.#actions.get(grant, action, prefix);
    if (!entry || entry.size > MAX_BUNDLED) return { head: absent(action) };
    const output = outputOf(entry);
    if (!fits(output.size, entry.size)) return { head: absent(action) };
    try {
      const body = entry.size <= MAX_SMALL ? await this.#core.bodies.bytes(entry) : await this.#core.bodies.open(entry);
      this.#core.catalog.touch(entry, grant);
      return { head: formatHead({ ...output, action, stored: entry.size, found: true, time: entry.created }), body };
    } catch (error) {
      // Gone, or out of reach: to the build it is a miss either way.
      if (error instanceof StowError && (error.refusal === "notFound" || error.refusal === "readFailure")) return { head: absent(action) };
      throw error;
    }
  }
}

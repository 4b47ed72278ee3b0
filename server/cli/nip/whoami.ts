import { LOOKUP, type Server } from "../../../action/client/servers.ts";
import type { Io } from "../io.ts";
import { spanWords } from "../words.ts";
import { refusal } from "./remote.ts";

/** What a server says of our key. */
export interface Identity {
  readonly actor: string;
  readonly permission: string;
  readonly cache: string;
  readonly read: readonly string[];
  readonly write: string | null;
  /** When the key ends, ms; null: never. */
  readonly expires: number | null;
}

/** How long before its end a key's owner is told, ms. */
const NOTICE = 14 * 24 * 60 * 60 * 1000;

/** Asks a server who we are; undefined for one that does not know the question. @throws ExchangeError, Refused */
export async function whoAmI(server: Server, signal?: AbortSignal): Promise<Identity | undefined> {
  const answer = await server.request("/v1/auth/whoami", { patience: LOOKUP, signal });
  if (answer.status === 404) return void answer.discard();
  if (answer.status !== 200) throw await refusal(answer);
  return parse(await answer.text());
}

function parse(text: string): Identity | undefined {
  try {
    const { actor, permission, cache, read, write, expires_at } = JSON.parse(text) as Record<string, unknown>;
    const expires = typeof expires_at === "string" ? Date.parse(expires_at) : NaN;
    return {
      actor: String(actor), permission: String(permission), cache: String(cache), read: Array.isArray(read) ? read.map(String) : [],
      write: typeof write === "string" ? write : null, expires: Number.isNaN(expires) ? null : expires,
    };
  } catch {
    return undefined;
  }
}

/** What to tell the owner of a key that ends soon, or undefined. */
export function expiryNotice(server: Server, identity: Identity | undefined, now = Date.now()): string | undefined {
  const expires = identity?.expires ?? null;
  if (expires === null || expires - now > NOTICE || identity!.actor.startsWith("session:")) return undefined;
  return `The key for ${server.url} ends in ${spanWords(expires - now)} (${new Date(expires).toISOString()}). Rotate it: stowhouse key rotate ${identity!.actor.replace(/^key:/, "")}`;
}

/** Asks each server a command uses, once and beside the command's own work, and says at the end which key ends soon. */
export class ExpiryNotices {
  readonly #io: Io;
  readonly #asked = new Map<Server, Promise<string | undefined>>();

  constructor(io: Io) {
    this.#io = io;
  }

  ask(server: Server): void {
    if (this.#asked.has(server)) return;
    this.#asked.set(server, whoAmI(server).then((identity) => expiryNotice(server, identity), () => undefined));
  }

  async say(): Promise<void> {
    for (const notice of await Promise.all(this.#asked.values())) if (notice) this.#io.stderr.write(`${notice}\n`);
  }
}

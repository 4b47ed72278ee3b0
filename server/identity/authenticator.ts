import { LRUCache } from "lru-cache";
import { StowError, errors, readFailure } from "../core/errors.ts";
import type { Database, MaybePromise } from "../database/database.ts";
import { tokenOf } from "./authorization.ts";
import { anonymous, keyCredential, sessionCredential, type Credential } from "./credential.ts";
import { isAlive, type Keys } from "./keys.ts";
import { parseSessionId } from "./session-id.ts";
import { MAX_TOKEN, type Tokens } from "./tokens.ts";

interface Known {
  readonly credential: Credential;
  /** The key whose use is noted: the credential itself, or the one a session was made from. */
  readonly key: string | null;
  /** The answer is good until then, ms. */
  readonly until: number;
  noted: number;
}

/** How long an answer may be kept while other processes can revoke a key without telling us, ms. */
const SHARED_LIFE = 2_000;
/** How long a refusal is kept, ms. */
const REFUSAL_LIFE = 2_000;
/** The last use of a key is noted no more often than this, ms. */
const USE_STEP = 1_000;
const MAX_HEADER = MAX_TOKEN * 2;

/**
 * Authorization header → credential. Known headers are answered from RAM at once, without a promise (a hash for each
 * request would cost 5 µs, hot-path.md); everything kept is dropped when any key or session is revoked.
 */
export class Authenticator {
  readonly #database: Database;
  readonly #keys: Keys;
  readonly #tokens: Tokens;
  readonly #known = new LRUCache<string, Known>({ max: 10_000, maxSize: 8 << 20, sizeCalculation: (_, header) => header.length + 1 });
  readonly #refused = new LRUCache<string, { error: StowError; until: number }>({ max: 1_000, maxSize: 1 << 20, sizeCalculation: (_, header) => header.length + 1 });
  readonly #pending = new Map<string, Promise<Credential>>();
  readonly #actors = new LRUCache<string, { alive: boolean; until: number }>({ max: 10_000 });
  /** Rises with each change, so that a look-up begun before one leaves nothing behind. */
  #generation = 0;

  constructor(database: Database, keys: Keys, tokens: Tokens) {
    this.#database = database;
    this.#keys = keys;
    this.#tokens = tokens;
  }

  /**
   * The credential of a request; `anonymous` without a header. A value, not a promise, for what is known.
   * @throws unauthorized, tokenInvalid (at once or as a rejection), readFailure
   */
  authenticate(header: string | undefined): MaybePromise<Credential> {
    if (header === undefined) return anonymous;
    const known = this.#known.get(header);
    if (known === undefined) return this.#lookUp(header);
    const now = Date.now();
    if (now >= known.until) {
      this.#known.delete(header);
      return this.#lookUp(header);
    }
    if (now - known.noted >= USE_STEP) this.#noteUse(known, now);
    return known.credential;
  }

  /** Notes the use of a credential for an answer that was given without asking here. */
  used(header: string): void {
    const known = this.#known.get(header);
    const now = Date.now();
    if (known && now - known.noted >= USE_STEP) this.#noteUse(known, now);
  }

  /**
   * Whether the holder behind an actor has not been revoked. For URLs signed on its behalf, which must not be valid for
   * longer than its `expires` either: a session's actor doesn't tell that.
   */
  alive(actor: string): MaybePromise<boolean> {
    const known = this.#actors.get(actor);
    return known !== undefined && Date.now() < known.until ? known.alive : this.#askAlive(actor);
  }

  /** Rises with every change of a credential: answers kept elsewhere are good for one epoch. */
  get epoch(): number {
    return this.#generation;
  }

  /** Drops everything kept. To be called when a key or a session has been revoked or changed. */
  forget(): void {
    this.#generation++;
    this.#known.clear();
    this.#refused.clear();
    this.#pending.clear();
    this.#actors.clear();
  }

  #lookUp(header: string): MaybePromise<Credential> {
    const refused = this.#refused.get(header);
    if (refused && Date.now() < refused.until) throw refused.error;
    const pending = this.#pending.get(header);
    if (pending) return pending;

    const generation = this.#generation;
    const lookUp = this.#resolve(header)
      .then(
        (known) => {
          if (generation === this.#generation) this.#known.set(header, known);
          this.#noteUse(known, Date.now());
          return known.credential;
        },
        (error: unknown) => {
          const failure = readFailure(error);
          if (generation === this.#generation && failure.status === 401) this.#refused.set(header, { error: failure, until: Date.now() + REFUSAL_LIFE });
          throw failure;
        },
      )
      .finally(() => {
        if (this.#pending.get(header) === lookUp) this.#pending.delete(header);
      });
    this.#pending.set(header, lookUp);
    return lookUp;
  }

  async #resolve(header: string): Promise<Known> {
    if (header.length > MAX_HEADER) throw errors.unauthorized();
    const token = tokenOf(header);
    if (token === undefined) return { credential: anonymous, key: null, until: Infinity, noted: 0 };
    const asked = Date.now();
    const key = await this.#keys.find(token);
    if (key) {
      if (!isAlive(key, asked)) throw errors.unauthorized();
      return { credential: keyCredential(key), key: key.id, until: this.#keep(asked, key.expires ?? Infinity), noted: 0 };
    }
    if (!/^eyJ[^.]*\.[^.]+\.[^.]+$/.test(token)) throw errors.unauthorized();

    const session = await this.#tokens.verify(token);
    const { run, key: parent } = parseSessionId(session.id)!;
    const end = Math.min(session.expires, await this.#end(`session:${session.id}`));
    if (end <= asked) throw errors.tokenInvalid("it was revoked, or the key it was made from was");
    return { credential: sessionCredential(session, run === null && parent === null), key: parent, until: this.#keep(asked, end), noted: 0 };
  }

  async #askAlive(actor: string): Promise<boolean> {
    const generation = this.#generation;
    const asked = Date.now();
    const end = await this.#end(actor).catch((error: unknown) => Promise.reject(readFailure(error)));
    const alive = end > asked;
    if (generation === this.#generation) this.#actors.set(actor, { alive, until: alive ? this.#keep(asked, end) : asked + REFUSAL_LIFE });
    return alive;
  }

  /** When the rights behind an actor end, ms; 0 when they have been taken away or never were. */
  async #end(actor: string): Promise<number> {
    if (actor === "anonymous") return Infinity;
    const colon = actor.indexOf(":");
    const [kind, id] = [actor.slice(0, colon), actor.slice(colon + 1)];
    if (kind === "key") {
      const key = await this.#keys.byId(id);
      return key && isAlive(key, Date.now()) ? (key.expires ?? Infinity) : 0;
    }
    const origin = kind === "session" ? parseSessionId(id) : undefined;
    if (!origin || (await this.#database.read("isRevoked", { run: origin.run, session: id }))) return 0;
    return origin.key === null ? Infinity : this.#end(`key:${origin.key}`);
  }

  #keep(asked: number, end: number): number {
    return this.#database.shared ? Math.min(end, asked + SHARED_LIFE) : end;
  }

  #noteUse(known: Known, now: number): void {
    known.noted = now;
    if (known.key !== null) this.#keys.used(known.key, now);
  }
}

import { errors } from "../core/errors.ts";
import type { Database } from "../database/database.ts";
import { parseAccess } from "./access.ts";
import { Authenticator } from "./authenticator.ts";
import { limitTo, oidcIdentity, runtimeIdentity } from "./claims.ts";
import type { CacheView, Credential, SessionRights } from "./credential.ts";
import { fixedKeys, type FixedKeys } from "./fixed-keys.ts";
import { GithubTokens } from "./github.ts";
import type { JwksLimits } from "./jwks.ts";
import { Keys } from "./keys.ts";
import { LIFETIMES, narrow, sessionEnd, type Lifetimes, type NarrowRequest } from "./narrow.ts";
import { checkRules, decide, type Decision, type GithubIdentity, type Refused, type Rule } from "./rules.ts";
import { newSessionId, parseSessionId, RUN_ID, sessionOf } from "./session-id.ts";
import { MAX_LIFETIME, sharedSecret, Tokens } from "./tokens.ts";

export interface IdentityOptions extends IdentitySettings {
  readonly database: Database;
  /** The `iss` of session tokens. */
  readonly issuer?: string | undefined;
}

/** What may change while the server runs. */
export interface IdentitySettings {
  readonly fixedKeys?: FixedKeys | undefined;
  /** Secrets of session tokens: the first signs, all verify. Default: one kept in the database. */
  readonly signingSecrets?: readonly string[] | undefined;
  /** How long session tokens live; never more than six hours. Default: one hour, and at most six. */
  readonly lifetimes?: Lifetimes | undefined;
  /** Without it, or without rules, no GitHub identity is accepted. */
  readonly github?: GithubOptions | undefined;
}

export interface GithubOptions {
  readonly issuer?: string | undefined;
  /**
   * The origin clients know this server by. It must come from the configuration: taken from a request's Host header, it
   * would make any audience ours.
   */
  readonly audience: string;
  readonly rules: readonly Rule[];
  /** Whether ACTIONS_RUNTIME_TOKENs are taken too. */
  readonly runtimeTokens?: boolean | undefined;
  readonly jwks?: Partial<JwksLimits> | undefined;
}

/** A session token and, for its holder, what it grants. */
export interface Session extends SessionRights {
  readonly token: string;
}

/** Credentials in, grants out. Knows no HTTP. */
export class Identity {
  readonly keys: Keys;
  readonly authenticator: Authenticator;
  readonly #database: Database;
  readonly #tokens: Tokens;
  readonly #fixedSecret: string;
  #settings: IdentitySettings;
  #github: GithubTokens | undefined;

  /** @throws config */
  static async open(options: IdentityOptions): Promise<Identity> {
    return new Identity(options, await secretsOf(options, options.database), await sharedSecret(options.database, "fixed-keys"));
  }

  private constructor(options: IdentityOptions, secrets: readonly string[], fixedSecret: string) {
    const { database, github } = options;
    checkRules(github?.rules ?? []);
    this.#database = database;
    this.#settings = options;
    this.#fixedSecret = fixedSecret;
    this.#github = github && new GithubTokens(github);
    this.#tokens = new Tokens(options.issuer ?? "stowhouse", secrets);
    this.keys = new Keys(database, fixedKeys(options.fixedKeys ?? {}, fixedSecret), () => this.authenticator.forget());
    this.authenticator = new Authenticator(database, this.keys, this.#tokens);
  }

  /**
   * Takes other settings from the next request on. Keys that are gone end at once, with their sessions; sessions that a rule
   * gave keep what they were given. @throws config, and then nothing has changed
   */
  async configure(settings: IdentitySettings): Promise<void> {
    const { github } = settings;
    checkRules(github?.rules ?? []);
    const fixed = fixedKeys(settings.fixedKeys ?? {}, this.#fixedSecret);
    const secrets = await secretsOf(settings, this.#database);
    // The issuer's keys are fetched anew for another issuer only.
    const same = JSON.stringify({ ...github, rules: [] }) === JSON.stringify({ ...this.#settings.github, rules: [] });
    const tokens = same ? this.#github : github && new GithubTokens(github);
    this.#tokens.use(secrets);
    this.#github = tokens;
    this.#settings = settings;
    this.keys.fix(fixed);
  }

  /**
   * A session for an OIDC id token, by the rules. @param lifetime seconds
   * @throws tokenInvalid, identityRefused, identityUnavailable, badRequest
   */
  async exchangeGithub(idToken: string, lifetime?: number): Promise<Session> {
    const identity = oidcIdentity(await this.#requireGithub().verifyIdToken(idToken));
    return this.#open(identity, decide(identity, this.#rules), sessionEnd(this.#lifetimes, lifetime));
  }

  /**
   * A session for an ACTIONS_RUNTIME_TOKEN: no more than its own `ac` and the rules allow, and no longer than it lives.
   * Scopes shared by several repositories aren't in `ac`, so they are not reached this way.
   * @throws tokenInvalid, identityRefused, identityUnavailable, badRequest
   */
  async exchangeRuntime(token: string, lifetime?: number): Promise<Session> {
    if (!this.#settings.github?.runtimeTokens) throw errors.identityRefused("", { cause: "auth.githubRuntime.enabled is false" });
    const claims = await this.#requireGithub().verifyRuntimeToken(token);
    const access = parseAccess(claims["ac"]);
    const identity = runtimeIdentity(claims, access);
    const decision = decide(identity, this.#rules.map((rule) => ({ ...rule, sharedScope: undefined })));
    return this.#open(identity, "refused" in decision ? decision : limitTo(decision, identity, access), sessionEnd(this.#lifetimes, lifetime, claims.exp! * 1000));
  }

  /** Turns a credential into a session with fewer rights or a shorter life. @throws noCache, badRequest */
  async narrow(credential: Credential, cache: CacheView, request: NarrowRequest): Promise<Session> {
    return this.#mint(narrow(credential, cache, request, this.#lifetimes));
  }

  /** Ends all sessions of a GitHub run, those still to come as well, for as long as one could live. @throws badRequest */
  async revokeRun(run: string): Promise<void> {
    if (!RUN_ID.test(run)) throw errors.badRequest("a run id is a number");
    await this.#revoke("run", run);
  }

  /**
   * Ends a session with all tokens narrowed from it. @param value its actor, its id or the `jti` of one of its tokens
   * @throws badRequest
   */
  async revokeSession(value: string): Promise<void> {
    const id = sessionOf(value);
    if (!parseSessionId(id)) throw errors.badRequest("this is not the id of a session");
    await this.#revoke("session", id);
  }

  async close(): Promise<void> {
    await this.keys.close();
  }

  get #rules(): readonly Rule[] {
    return this.#settings.github?.rules ?? [];
  }

  get #lifetimes(): Lifetimes {
    return this.#settings.lifetimes ?? LIFETIMES;
  }

  #requireGithub(): GithubTokens {
    // Without rules nobody is let in, so the issuer needn't be asked for its keys.
    if (!this.#github || this.#rules.length === 0) throw errors.identityRefused("", { cause: "auth.github.rules is empty" });
    return this.#github;
  }

  async #open(identity: GithubIdentity, decision: Decision | Refused, expires: number): Promise<Session> {
    if ("refused" in decision) throw errors.identityRefused("", { cause: decision.refused });
    const id = newSessionId({ run: identity.run, key: null });
    if (await this.#database.read("isRevoked", { run: identity.run, session: id })) throw errors.tokenInvalid("its run was revoked");
    return this.#mint({ ...decision, id, public: false, expires });
  }

  async #mint(rights: SessionRights): Promise<Session> {
    return { ...rights, token: await this.#tokens.mint(rights) };
  }

  async #revoke(kind: "run" | "session", value: string): Promise<void> {
    await this.#database.write("revokeSessions", { kind, value, until: Date.now() + MAX_LIFETIME * 1000 });
    this.authenticator.forget();
  }
}

async function secretsOf({ signingSecrets }: IdentitySettings, database: Database): Promise<readonly string[]> {
  return signingSecrets?.length ? signingSecrets : [await sharedSecret(database, "session-signing")];
}

import { createHmac, randomBytes } from "node:crypto";
import { SignJWT, errors as jose, jwtVerify, type JWTPayload } from "jose";
import { errors } from "../core/errors.ts";
import { isCacheName, isScope, type Scope } from "../core/scope.ts";
import type { Database } from "../database/database.ts";
import type { SessionRights } from "./credential.ts";
import { formatAccess } from "./access.ts";
import { newTokenId, parseSessionId, sessionOf } from "./session-id.ts";

/** No session lives longer, whatever the configuration says; seconds. */
export const MAX_LIFETIME = 6 * 60 * 60;
/** `nbf` lies so far back that a client or a replica whose clock is slow takes the token, seconds. */
const BACKDATED = 60;
const MIN_SECRET = 32;
const MAX_SECRETS = 10;
/** Characters; Node takes 16 KiB of request headers in all. */
export const MAX_TOKEN = 8192;
const ALGORITHM = "HS256";

/**
 * Session tokens: JWTs of our own, shaped like GitHub's runtime tokens as far as BuildKit parses them (`ac`, `nbf`, `exp`;
 * github-actions.md §1.8). What they grant stands in the claim `stow`; `ac` is for clients to look at and never read here.
 */
export class Tokens {
  readonly #issuer: string;
  /** By `kid`; the first one signs. */
  #keys: ReadonlyMap<string, Uint8Array>;

  /**
   * @param issuer the `iss` of our tokens
   * @param secrets the first signs, all verify: so a secret can be changed while the old one's tokens live on
   * @throws config
   */
  constructor(issuer: string, secrets: readonly string[]) {
    this.#issuer = issuer;
    this.#keys = keysOf(secrets);
  }

  /** Takes other secrets from now on. @throws config, and then nothing has changed */
  use(secrets: readonly string[]): void {
    this.#keys = keysOf(secrets);
  }

  /** Signs a session. @throws badRequest for one that has ended, would live longer than allowed or is too large to send */
  async mint(session: SessionRights): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const { id, cache, read, write, trusted, expires } = session;
    if (!Number.isInteger(expires / 1000) || expires / 1000 <= now || expires / 1000 > now + MAX_LIFETIME) throw errors.badRequest("a session lives from one second to six hours");
    const run = parseSessionId(id)?.run;
    const [kid, key] = this.#keys.entries().next().value!;
    const claims = {
      ac: formatAccess(read, write),
      stow: { cache, read, write, trusted, public: session.public },
      ...(run && { run_id: run }),
    };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, typ: "JWT", kid })
      .setIssuer(this.#issuer)
      .setJti(newTokenId(id))
      .setIssuedAt(now)
      .setNotBefore(now - BACKDATED)
      .setExpirationTime(expires / 1000)
      .sign(key);
    if (token.length > MAX_TOKEN) throw errors.badRequest("the session reads too many scopes for one token; ask for fewer");
    return token;
  }

  /** Checks everything that can be checked without the database. @throws tokenInvalid */
  async verify(token: string): Promise<SessionRights> {
    try {
      const { payload } = await jwtVerify(token, ({ kid }) => this.#key(kid), {
        algorithms: [ALGORITHM],
        typ: "JWT",
        issuer: this.#issuer,
        requiredClaims: ["jti", "iat", "nbf", "exp", "ac", "stow"],
      });
      return sessionFrom(payload);
    } catch (error) {
      const why = error instanceof jose.JWTExpired ? "it has expired" : "it is not a valid session token of this server";
      throw errors.tokenInvalid(why, { cause: error });
    }
  }

  #key(kid: string | undefined): Uint8Array {
    const key = this.#keys.get(kid ?? "");
    if (!key) throw new Error("unknown kid");
    return key;
  }
}

function sessionFrom({ jti, nbf, exp, stow }: JWTPayload): SessionRights {
  const id = sessionOf(String(jti));
  const { cache, read, write, trusted, public: isPublic } = stow as Record<string, unknown>;
  const sound =
    parseSessionId(id) && typeof cache === "string" && isCacheName(cache) && Array.isArray(read) && read.every(isScopeText) &&
    (write === null || isScopeText(write)) && typeof trusted === "boolean" && typeof isPublic === "boolean" && exp! - nbf! <= MAX_LIFETIME + BACKDATED;
  if (!sound) throw new Error("malformed claims");
  return { id, cache, read, write, trusted, public: isPublic, expires: exp! * 1000 };
}

function isScopeText(value: unknown): value is Scope {
  return typeof value === "string" && isScope(value);
}

function keysOf(secrets: readonly string[]): Map<string, Uint8Array> {
  if (secrets.length === 0 || secrets.length > MAX_SECRETS) throw errors.config(`auth.signingSecret: expected 1 to ${MAX_SECRETS} secrets`);
  if (secrets.some((secret) => secret.length < MIN_SECRET)) throw errors.config(`auth.signingSecret: expected at least ${MIN_SECRET} characters`);
  return new Map(secrets.map((secret) => [derive(secret, "kid").toString("base64url").slice(0, 12), derive(secret, "key")]));
}

/** The same secret may sign other things (URLs), so each use has a key of its own. */
function derive(secret: string, use: string): Buffer {
  return createHmac("sha256", secret).update(`stowhouse session token ${use}`).digest();
}

/** A secret that all replicas share, made at the first start. */
export async function sharedSecret(database: Database, name: string): Promise<string> {
  return database.write("secret", { name, candidate: randomBytes(32).toString("base64url"), now: Date.now() });
}

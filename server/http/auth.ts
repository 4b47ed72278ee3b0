import type { FastifyRequest } from "fastify";
import type { MaybePromise } from "../database/database.ts";
import type { Caches } from "../core/caches.ts";
import { errors } from "../core/errors.ts";
import type { Grant } from "../core/grant.ts";
import type { Authenticator } from "../identity/authenticator.ts";
import { defaultCache, type Credential } from "../identity/credential.ts";
import type { RequestAudit } from "./audit.ts";
import type { SignedResource, Signer } from "./signing.ts";

/** From a request to a grant: who it is, and which cache is meant. */
export class Auth {
  readonly #authenticator: Authenticator;
  readonly #caches: Caches;
  readonly #audit: RequestAudit;
  readonly #signer: Signer;

  constructor(parts: { authenticator: Authenticator; caches: Caches; audit: RequestAudit; signer: Signer }) {
    this.#signer = parts.signer;
    this.#authenticator = parts.authenticator;
    this.#caches = parts.caches;
    this.#audit = parts.audit;
  }

  /** Changes whenever a credential or a cache does. */
  get epoch(): number {
    return this.#authenticator.epoch + this.#caches.epoch;
  }

  /** Verifies the request's credential; runs before the handler. @throws unauthorized, tokenInvalid */
  check(request: FastifyRequest): MaybePromise<void> {
    const credential = this.#authenticator.authenticate(request.headers.authorization);
    return credential instanceof Promise ? credential.then((one) => this.#accept(request, one)) : this.#accept(request, credential);
  }

  #accept(request: FastifyRequest, credential: Credential): void {
    const ctx = request.stow;
    ctx.credential = credential;
    ctx.actor = credential.actor;
    ctx.until = credential.expires ?? Infinity;
    if (credential.kind !== "anonymous") this.#audit.use(ctx);
    this.choose(request, ctx.cacheName ?? defaultCache(credential));
  }

  /** Whether a request's credential still stands: for connections that outlive their request. @throws readFailure */
  async alive(request: FastifyRequest): Promise<boolean> {
    const { actor, until } = request.stow;
    return until > Date.now() && (await this.#authenticator.alive(actor));
  }

  /** Means a cache, known or not: for wires that name it elsewhere than in front of the path. After `check`. */
  choose(request: FastifyRequest, name: string): void {
    const ctx = request.stow;
    const cache = this.#caches.get(name);
    ctx.grant = cache && ctx.credential?.grant(cache);
    ctx.cache = ctx.grant?.cache ?? "";
  }

  /** The request's grant in the cache it means. @throws unauthorized (nobody may do anything there without a credential), noCache */
  grant(request: FastifyRequest): Grant {
    const { grant, credential } = request.stow;
    if (grant) return grant;
    // An unknown cache and a foreign one look alike.
    throw credential === undefined || credential.kind === "anonymous" ? errors.unauthorized() : errors.noCache();
  }

  /** The grant, if it may write. @throws forbiddenWrite; unauthorized for a request without a credential */
  writer(request: FastifyRequest): Grant & { readonly write: string } {
    const grant = this.grant(request);
    if (grant.write === null) throw request.stow.credential?.kind === "anonymous" ? errors.unauthorized() : errors.forbiddenWrite();
    return grant as Grant & { readonly write: string };
  }

  /** @throws forbiddenAdmin, unauthorized */
  admin(request: FastifyRequest): Credential {
    const { credential } = request.stow;
    if (!credential || credential.kind === "anonymous") throw errors.unauthorized();
    if (credential.permission !== "admin") throw errors.forbiddenAdmin();
    return credential;
  }

  /**
   * Verifies a signed URL (route config `auth: "signed"`): its signature, its time, and that the credential it was made
   * for still stands. Returns when it ends, ms. @throws tokenInvalid
   */
  async signed(request: FastifyRequest, resource: SignedResource): Promise<number> {
    const { se, sig } = request.query as { se?: unknown; sig?: unknown };
    const until = this.#signer.verify(resource, se, sig);
    if (until === undefined) throw errors.tokenInvalid("the URL's signature is wrong or has expired");
    const ctx = request.stow;
    ctx.actor = resource.actor;
    ctx.cache = resource.cache;
    if (!(await this.#authenticator.alive(resource.actor))) throw errors.tokenInvalid("the credential of this URL was revoked or has expired");
    return until;
  }
}

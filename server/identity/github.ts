import { errors as jose, jwtVerify, type JWTPayload } from "jose";
import { StowError, errors } from "../core/errors.ts";
import { Jwks, type JwksLimits } from "./jwks.ts";

export const GITHUB_ISSUER = "https://token.actions.githubusercontent.com";
const MAX_TOKEN = 16_384;
/** Clocks may differ by this, seconds. */
const SKEW = 60;

/** Verifies tokens that GitHub signed: signature, issuer, audience, times. What they allow is decided in rules.ts. */
export class GithubTokens {
  readonly #issuer: string;
  readonly #audience: string;
  readonly #keys: Jwks;

  /** @throws config for an issuer that is neither https nor on loopback */
  constructor(options: { issuer?: string | undefined; audience: string; jwks?: Partial<JwksLimits> | undefined }) {
    this.#issuer = options.issuer ?? GITHUB_ISSUER;
    this.#audience = options.audience;
    this.#keys = new Jwks(jwksUrl(this.#issuer), options.jwks);
  }

  /**
   * The claims of an OIDC id token that was made for this server.
   * @throws tokenInvalid, identityUnavailable when the issuer's keys can't be had
   */
  async verifyIdToken(token: string): Promise<JWTPayload> {
    const claims = await this.#verify(token, ["aud", "iat"]);
    // A runtime token is signed with the same keys, but anyone's job can hold it and it isn't meant for us.
    if ("ac" in claims || "scp" in claims) throw errors.tokenInvalid("it is a runtime token, not an OIDC id token");
    if (claims.aud !== this.#audience) throw errors.tokenInvalid(`its audience is not ${this.#audience}`);
    return claims;
  }

  /**
   * The claims of an ACTIONS_RUNTIME_TOKEN. Its audience is GitHub's own, so it is not checked.
   * @throws tokenInvalid, identityUnavailable when the issuer's keys can't be had
   */
  async verifyRuntimeToken(token: string): Promise<JWTPayload> {
    return this.#verify(token, ["ac", "repository_id"]);
  }

  async #verify(token: string, required: readonly string[]): Promise<JWTPayload> {
    if (token.length > MAX_TOKEN) throw errors.tokenInvalid("it is too long");
    try {
      const { payload } = await jwtVerify(token, this.#keys.key, {
        algorithms: ["RS256"],
        issuer: this.#issuer,
        clockTolerance: SKEW,
        requiredClaims: ["exp", "nbf", ...required],
      });
      if (payload.iat !== undefined && payload.iat > Date.now() / 1000 + SKEW) throw errors.tokenInvalid("it was issued in the future");
      return payload;
    } catch (error) {
      if (error instanceof StowError) throw error;
      throw errors.tokenInvalid(reason(error), { cause: error });
    }
  }
}

function reason(error: unknown): string {
  if (error instanceof jose.JWTExpired) return "it has expired";
  if (error instanceof jose.JWTClaimValidationFailed) return `its claim ${error.claim} is not accepted`;
  return "it was not signed by the identity issuer of this server";
}

/**
 * Where an issuer's keys are. GitHub's own hosts (`token.actions.…`) keep them at the root although an enterprise's
 * issuer has a path (`/<slug>`); any other issuer (GitHub Enterprise Server) has them under its own path.
 * @throws config
 */
export function jwksUrl(issuer: string): URL {
  const url = URL.parse(issuer);
  const loopback = url !== null && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  if (url?.protocol !== "https:" && !(url?.protocol === "http:" && loopback)) {
    throw errors.config("auth.github.issuer: expected an https URL (http only on loopback)");
  }
  const base = url.hostname.startsWith("token.actions.") ? url.origin : `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  return new URL(`${base}/.well-known/jwks`);
}

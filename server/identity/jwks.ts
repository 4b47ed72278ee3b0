import { createLocalJWKSet, errors as jose, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { errors } from "../core/errors.ts";

export interface JwksLimits {
  /** For the whole request, ms. */
  readonly timeout: number;
  readonly maxBytes: number;
  /** Keys are fetched again after this, ms. */
  readonly maxAge: number;
  /** Keys that could not be fetched again are believed no longer than this, ms. */
  readonly maxStale: number;
  /** At most one attempt in this time, whatever tokens arrive, ms. */
  readonly coolDown: number;
}

const LIMITS: JwksLimits = { timeout: 5_000, maxBytes: 256 * 1024, maxAge: 10 * 60_000, maxStale: 24 * 60 * 60_000, coolDown: 10_000 };

/** The public keys of an issuer: fetched when needed, kept, and fetched once more for a key id they lack. */
export class Jwks {
  readonly #url: URL;
  readonly #limits: JwksLimits;
  #keys: ReturnType<typeof createLocalJWKSet> | undefined;
  #fetched = -Infinity;
  #attempted = -Infinity;
  #pending: Promise<void> | undefined;

  constructor(url: URL, limits: Partial<JwksLimits> = {}) {
    this.#url = url;
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * The key a token's header names.
   * @throws identityUnavailable when the issuer gives no keys; an error of jose when it doesn't have this one
   */
  readonly key: JWTVerifyGetKey = async (header, token) => {
    if (!header.kid) throw new jose.JWKSNoMatchingKey("the token names no key");
    if (Date.now() - this.#fetched > this.#limits.maxAge) await this.#refresh();
    try {
      return await this.#current()(header, token);
    } catch (error) {
      if (!(error instanceof jose.JWKSNoMatchingKey)) throw error;
      await this.#refresh();
      return this.#current()(header, token);
    }
  };

  #current(): ReturnType<typeof createLocalJWKSet> {
    if (!this.#keys || Date.now() - this.#fetched > this.#limits.maxStale) throw errors.identityUnavailable();
    return this.#keys;
  }

  /** One attempt shared by all who wait, and none within the cool-down. Never rejects: old keys may do. */
  #refresh(): Promise<void> {
    if (this.#pending) return this.#pending;
    if (Date.now() - this.#attempted < this.#limits.coolDown) return Promise.resolve();
    this.#attempted = Date.now();
    this.#pending = this.#fetch()
      .then((keys) => {
        this.#keys = createLocalJWKSet(keys);
        this.#fetched = Date.now();
      })
      .catch(() => {})
      .finally(() => (this.#pending = undefined));
    return this.#pending;
  }

  async #fetch(): Promise<JSONWebKeySet> {
    // A redirect could lead anywhere, so none is followed. The signal ends the body as well.
    const response = await fetch(this.#url, { redirect: "error", signal: AbortSignal.timeout(this.#limits.timeout), headers: { accept: "application/json" } });
    if (response.status !== 200 || !response.body) {
      await response.body?.cancel();
      throw new Error(`the issuer answered ${response.status}`);
    }
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body) {
      size += chunk.length;
      if (size > this.#limits.maxBytes) throw new Error("the issuer's answer is too large");
      chunks.push(chunk);
    }
    return JSON.parse(Buffer.concat(chunks).toString("utf8")) as JSONWebKeySet;
  }
}

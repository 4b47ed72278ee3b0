import rateLimit, { normalizeIP } from "@fastify/rate-limit";
import type { FastifyInstance } from "fastify";
import { errors } from "../core/errors.ts";

/** Pairs counted at once; beyond it the least recent is forgotten. */
const MAX_PAIRS = 50_000;

/**
 * Limits requests of each (credential, address) pair in a minute: a public key is never limited as a whole. A valid key on
 * loopback is never limited, nor are probes.
 * @param limit `perMinute` may change at any time; 0 turns limiting off
 */
export async function registerRateLimit(app: FastifyInstance, limit: { readonly perMinute: number }): Promise<void> {
  await app.register(rateLimit, {
    max: () => limit.perMinute,
    timeWindow: 60_000,
    cache: MAX_PAIRS,
    // After the credential is known, before a body is read.
    hook: "preParsing",
    keyGenerator: (request) => `${request.stow.actor} ${normalizeIP(request.stow.address)}`,
    allowList: (request) => {
      if (limit.perMinute === 0) return true;
      const { address, config, credential } = request.stow;
      // Whoever fills a reservation in small blocks was counted when it was reserved, and has no other use of that URL.
      if (config.auth === "signed" && request.method === "PUT") return true;
      if (config.auth === "none") return !config.op.startsWith("auth.") || isLoopback(address);
      return isLoopback(address) && (config.auth === "signed" || (credential !== undefined && credential.kind !== "anonymous"));
    },
    errorResponseBuilder: (_, { ttl }) => errors.rateLimited("", { retryAfter: Math.ceil(ttl / 1000) }),
    addHeaders: NO_HEADERS,
    addHeadersOnExceeding: { ...NO_HEADERS },
  });
}

// The answer's Retry-After comes with the error, in every protocol's own form.
const NO_HEADERS = { "x-ratelimit-limit": false, "x-ratelimit-remaining": false, "x-ratelimit-reset": false, "retry-after": false } as const;

export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1" || address.startsWith("::ffff:127.");
}

/** A bounded number of places; whoever finds none waits in line, and is refused after `patience` ms. */
export class Places {
  #free: number;
  readonly #patience: number;
  readonly #line = new Set<() => void>();

  constructor(count: number, patience: number) {
    this.#free = count;
    this.#patience = patience;
  }

  /** @throws tooManyUploads */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else {
      await new Promise<void>((resolve, reject) => {
        const next = () => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(() => {
          this.#line.delete(next);
          reject(errors.tooManyUploads("", { retryAfter: 5 }));
        }, this.#patience);
        this.#line.add(next);
      });
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.#line.values().next().value;
      if (next) {
        this.#line.delete(next);
        next();
      } else this.#free++;
    };
  }
}

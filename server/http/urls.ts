import type { FastifyRequest } from "fastify";

const HOST = /^(?:\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9._-]{1,253})(?::\d{1,5})?$/;

/** Builds the URLs that answers hold. */
export class Urls {
  readonly #configured: string | undefined;
  readonly #fallback: string;

  /**
   * @param configured the public URL, if set; else the request's Host counts (X-Forwarded-* only from configured proxies, which is Fastify's `trustProxy`)
   * @param fallback used when a request's Host can't be one
   */
  constructor(configured: string | undefined, fallback: string) {
    this.#configured = configured?.replace(/\/+$/, "");
    this.#fallback = fallback;
  }

  /** `https://cache.example.com`, without a slash at its end. */
  origin(request: FastifyRequest): string {
    if (this.#configured) return this.#configured;
    return HOST.test(request.host) ? `${request.protocol}://${request.host}` : this.#fallback;
  }

  /** An absolute path in the cache the request named, with its prefix if it had one. */
  path(request: FastifyRequest, path: string): string {
    return request.stow.cacheName ? `/c/${request.stow.cacheName}${path}` : path;
  }
}

import { errors } from "./errors.ts";
import { isCacheName, type Scope } from "./scope.ts";

/** A tenant of the server, with its settings resolved: bytes and milliseconds. */
export interface Cache {
  readonly name: string;
  /** Bytes of all its entries. */
  readonly quota: number;
  /** An entry that was not used for so long is removed, ms. */
  readonly retention: number;
  /** Part of the quota (0 to 1) that untrusted scopes may fill. */
  readonly untrustedShare: number;
  /** An entry of an untrusted scope that was not used for so long is removed, ms. */
  readonly untrustedIdle: number;
  readonly defaultScope: Scope;
  /** Whether requests without a credential read the default scope. */
  readonly anonymousRead: boolean;
  /** Largest entry, bytes. */
  readonly entrySize: number;
  /** Storages that take its new blobs, and how one is chosen (storage/placement.ts). */
  readonly storages: readonly string[];
  readonly placement: "in-order" | "round-robin" | "split" | "least-used";
  readonly shares?: Readonly<Record<string, number>> | undefined;
}

/** The caches of this server. Those of the configuration are fixed; the admin API adds and changes others. */
export class Caches {
  readonly #caches = new Map<string, Cache>();
  /** Changes with every change of a cache. */
  epoch = 0;

  get(name: string): Cache | undefined {
    return this.#caches.get(name);
  }

  /** @throws noCache */
  require(name: string): Cache {
    const cache = this.#caches.get(name);
    if (!cache) throw errors.noCache();
    return cache;
  }

  list(): Cache[] {
    return [...this.#caches.values()];
  }

  set(cache: Cache): void {
    if (!isCacheName(cache.name)) throw errors.badRequest("a cache's name is lower-case letters, digits and hyphens, at most 63");
    this.#caches.set(cache.name, cache);
    this.epoch++;
  }

  delete(name: string): void {
    this.#caches.delete(name);
    this.epoch++;
  }
}

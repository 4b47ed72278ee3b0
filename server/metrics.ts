import { AggregatorRegistry, collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Core } from "./core/core.ts";
import type { Meter, RequestMeter } from "./http/accounting.ts";
import { Histogram as HotHistogram } from "./metrics/latency.ts";
import type { BlobStore } from "./storage/store.ts";

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Keys that refusals are counted for, each by itself; those of further ones are counted together. */
const MAX_KEYS = 200;

interface Cell {
  requests: number;
  received: number;
  sent: number;
}

/** All metrics of one process, to be joined with those of others. */
export type Figures = readonly object[];

/** The metrics of several processes of one server as text. */
export function joinFigures(figures: readonly Figures[]): Promise<string> {
  return AggregatorRegistry.aggregate(figures as object[]).metrics();
}

/** All metrics of a server, by Prometheus' naming rules. One registry a server, so that tests can run several. */
export class Metrics implements Meter {
  readonly registry = new Registry();
  /** Where several processes serve together: asks all of them for `text`. */
  together: (() => Promise<string>) | undefined;
  readonly #requests = this.#counter("stowhouse_requests_total", "Requests by protocol, operation and result.", ["protocol", "op", "result"]);
  readonly #received = this.#counter("stowhouse_received_bytes_total", "Bytes of bodies received.", ["protocol", "op", "cache"]);
  readonly #sent = this.#counter("stowhouse_sent_bytes_total", "Bytes of bodies sent.", ["protocol", "op", "cache"]);
  readonly #duration = new HotHistogram(this.registry, "stowhouse_request_duration_seconds", "Time from a request's head to the end of its answer.", SECONDS);
  readonly #uploadFailures = this.#counter("stowhouse_upload_failures_total", "Bodies that were sent but not stored.", ["protocol", "result"]);
  readonly #lookups = this.#counter("stowhouse_lookups_total", "Look-ups of entries by cache, protocol and result: hit or miss.", ["cache", "protocol", "result"]);
  readonly #refused = this.#counter("stowhouse_refused_requests_total", "Requests without the right (denied) or over a limit (refused), by API key.", ["protocol", "key", "result"]);
  readonly #refusedKeys = new Set<string>();
  readonly #evicted = this.#counter("stowhouse_evicted_entries_total", "Entries removed to make room or because their time was over.", ["cache", "reason"]);
  readonly #evictedBytes = this.#counter("stowhouse_evicted_bytes_total", "Bytes of entries removed.", ["cache", "reason"]);
  readonly #storage = this.#counter("stowhouse_storage_operations_total", "Calls to storages.", ["storage", "op", "result"]);
  readonly #storageSeconds = new Histogram({
    name: "stowhouse_storage_operation_duration_seconds", help: "Time of calls to storages.", labelNames: ["storage", "op"], buckets: SECONDS, registers: [this.registry],
  });
  readonly #cacheReads = this.#counter("stowhouse_read_cache_requests_total", "Blobs opened through a storage's read cache.", ["storage", "result"]);
  readonly #cacheBytes = this.#counter("stowhouse_read_cache_bytes_total", "Bytes read through a storage's read cache.", ["storage", "result"]);
  // Each process of a server takes the same configuration over, so they are not added up.
  readonly #reloads = new Counter({
    name: "stowhouse_config_reload_total", help: "Changed configurations by result: success, or failure for a wrong one.", labelNames: ["result"], aggregator: "max", registers: [this.registry],
  });
  readonly #reloaded = this.#setting("stowhouse_config_last_reload_successful", "Whether the configuration as it is now was taken over.", "min");
  readonly #restart = this.#setting("stowhouse_config_restart_needed", "Whether a field has changed that only a restart takes over.", "max");
  readonly #flushes: (() => void)[] = [];

  constructor(version: string) {
    new Gauge({ name: "stowhouse_build_info", help: "1, labelled with the server's version.", labelNames: ["version"], aggregator: "max", registers: [this.registry] }).labels(version).set(1);
    for (const result of ["success", "failure"]) this.#reloads.labels(result).inc(0);
    this.#reloaded.set(1);
    this.#restart.set(0);
    collectDefaultMetrics({ register: this.registry, prefix: "stowhouse_" });
  }

  #counter<L extends string>(name: string, help: string, labelNames: L[]): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #setting(name: string, help: string, aggregator: "max" | "min"): Gauge {
    return new Gauge({ name, help, aggregator, registers: [this.registry] });
  }

  /** @param restart whether something waits for a restart */
  configReloaded(success: boolean, restart = false): void {
    this.#reloads.labels(success ? "success" : "failure").inc();
    this.#reloaded.set(success ? 1 : 0);
    if (success) this.#restart.set(restart ? 1 : 0);
  }

  /** Counts in plain numbers; they reach the counters when somebody scrapes (a third of the cost of counting right there). */
  request(protocol: string, op: string, result: string, cache: string): RequestMeter {
    const cell: Cell = { requests: 0, received: 0, sent: 0 };
    const duration = this.#duration.series({ protocol, op });
    const failed = /upload|write/.test(op) && ["error", "aborted", "refused", "invalid"].includes(result);
    this.#flushes.push(() => {
      this.#requests.labels(protocol, op, result).inc(cell.requests);
      this.#received.labels(protocol, op, cache).inc(cell.received);
      this.#sent.labels(protocol, op, cache).inc(cell.sent);
      if (failed) this.#uploadFailures.labels(protocol, result).inc(cell.requests);
      Object.assign(cell, { requests: 0, received: 0, sent: 0 });
    });
    return {
      observe(seconds: number, bytesIn: number, bytesOut: number) {
        cell.requests++;
        cell.received += bytesIn;
        cell.sent += bytesOut;
        duration.observe(seconds);
      },
    };
  }

  /** Counts in a plain number too. */
  lookups(cache: string, protocol: string, result: string): { value: number } {
    const cell = { value: 0 };
    const series = this.#lookups.labels(cache, protocol, result);
    this.#flushes.push(() => {
      series.inc(cell.value);
      cell.value = 0;
    });
    return cell;
  }

  refused(protocol: string, key: string, result: string): void {
    // Rotation makes new keys without end.
    if (this.#refusedKeys.size < MAX_KEYS) this.#refusedKeys.add(key);
    this.#refused.labels(protocol, this.#refusedKeys.has(key) ? key : "other", result).inc();
  }

  /** All metrics as text, in Prometheus' format. */
  async text(): Promise<string> {
    if (this.together) return this.together();
    for (const flush of this.#flushes) flush();
    return this.registry.metrics();
  }

  /** What this process alone has counted. */
  async figures(): Promise<Figures> {
    for (const flush of this.#flushes) flush();
    return this.registry.getMetricsAsJSON();
  }

  evicted(cache: string, reason: string, bytes: number): void {
    this.#evicted.labels(cache, reason).inc();
    this.#evictedBytes.labels(cache, reason).inc(bytes);
  }

  /** Gauges read from the core at each scrape; all processes see the same, so they are not added up. */
  watch(core: Core, failing: (storage: string) => boolean): void {
    const gauge = (name: string, help: string, labelNames: string[], collect: (gauge: Gauge) => Promise<void>, aggregator: "max" | "min" = "max") =>
      new Gauge({ name, help, labelNames, aggregator, registers: [this.registry], async collect() { this.reset(); await collect(this).catch(() => {}); } });
    gauge("stowhouse_cache_bytes", "Bytes of entries, and of uploads not committed yet.", ["cache", "keyspace", "trusted"], async (g) => {
      for (const row of await core.database.read("usage", {})) g.labels(row.cache, row.keyspace, String(row.trusted)).set(row.bytes);
    });
    gauge("stowhouse_cache_entries", "Entries.", ["cache", "keyspace", "trusted"], async (g) => {
      for (const row of await core.database.read("usage", {})) g.labels(row.cache, row.keyspace, String(row.trusted)).set(row.entries);
    });
    gauge("stowhouse_cache_quota_bytes", "Quota of a cache.", ["cache"], async (g) => {
      for (const cache of core.caches.list()) g.labels(cache.name).set(cache.quota);
    });
    gauge("stowhouse_entry_age_seconds", "Mean age of entries.", ["cache", "keyspace"], async (g) => {
      for (const age of core.ages.latest()) g.labels(age.cache, age.keyspace).set(age.mean / 1000);
    });
    gauge("stowhouse_storage_free_bytes", "Free space of a storage that has an end.", ["storage"], async (g) => {
      for (const [name, store] of core.stores) {
        const capacity = await store.capacity().catch(() => undefined);
        if (capacity) g.labels(name).set(capacity.free);
      }
    });
    gauge("stowhouse_storage_size_bytes", "Size of a storage that has an end.", ["storage"], async (g) => {
      for (const [name, store] of core.stores) {
        const capacity = await store.capacity().catch(() => undefined);
        if (capacity) g.labels(name).set(capacity.total);
      }
    });
    gauge("stowhouse_storage_failing", "Whether new blobs go round a storage because it failed a short while ago.", ["storage"], async (g) => {
      for (const name of core.stores.keys()) g.labels(name).set(failing(name) ? 1 : 0);
    });
    gauge("stowhouse_database_up", "Whether the database answers.", [], async (g) => {
      g.set(await core.database.ping().then(() => 1, () => 0));
    }, "min");
  }

  /** Counts what a storage's read cache is asked for. */
  readCache(storage: string): (result: "hit" | "miss", bytes: number) => void {
    return (result, bytes) => {
      this.#cacheReads.labels(storage, result).inc();
      this.#cacheBytes.labels(storage, result).inc(bytes);
    };
  }

  /** The same store, with every call counted and timed. @param presign whether it may hand out URLs of its own */
  metered(name: string, store: BlobStore, presign: boolean): BlobStore {
    const timed = async <T>(op: string, call: () => Promise<T>): Promise<T> => {
      const stop = this.#storageSeconds.labels(name, op).startTimer();
      try {
        const value = await call();
        this.#storage.labels(name, op, "ok").inc();
        return value;
      } catch (error) {
        this.#storage.labels(name, op, (error as Error).name === "MissingBlob" ? "missing" : "error").inc();
        throw error;
      } finally {
        stop();
      }
    };
    return {
      kind: store.kind,
      create: async (cache) => {
        const writer = await timed("create", () => store.create(cache));
        return { write: (chunk) => writer.write(chunk), abort: () => writer.abort(), commit: (digest) => timed("write", () => writer.commit(digest)) };
      },
      open: async (blob, size) => {
        // Reading itself takes as long as the client does, so only the opening is timed.
        return timed("open", () => store.open(blob, size));
      },
      remove: (blob) => timed("remove", () => store.remove(blob)),
      list: () => store.list(),
      sweep: (olderThan) => store.sweep(olderThan),
      capacity: () => store.capacity(),
      ...(presign && store.presign ? { presign: (blob: string, seconds: number) => store.presign!(blob, seconds) } : {}),
      close: () => store.close(),
    };
  }
}

import type { Dashboard } from "@grafana/schema";
import { areas, bars, board, labelVariable, lines, stat, type Row } from "./panels.ts";

/** Grafana's dashboard of servers: the same for all of them, chosen by variables. */

/** The servers chosen. */
const S = 'namespace=~"$namespace",service=~"$service"';
const rate = (metric: string, more = "") => `rate(${metric}{${S}${more}}[$__rate_interval])`;
/** What is the same whichever process or replica says it. */
const once = (metric: string, by: string) => `max by (${by}) (${metric}{${S}})`;
const hitRate = (by: string) => {
  const sum = (more: string) => `sum by (${by}) (${rate("stowhouse_lookups_total", more)})`;
  return `${sum(',result="hit"')} / ${sum("")}`;
};

const overview: Row = {
  title: "Overview",
  panels: [
    stat({ title: "Hit rate", about: "Look-ups that found something.", unit: "percentunit", width: 4, queries: [{ expr: `sum(${rate("stowhouse_lookups_total", ',result="hit"')}) / sum(${rate("stowhouse_lookups_total")})`, legend: "" }] }),
    stat({ title: "Served", about: "Bytes of bodies sent in the time shown.", unit: "bytes", width: 4, queries: [{ expr: `sum(increase(stowhouse_sent_bytes_total{${S}}[$__range]))`, legend: "" }] }),
    stat({ title: "Saved", about: "Bytes of bodies received in the time shown.", unit: "bytes", width: 4, queries: [{ expr: `sum(increase(stowhouse_received_bytes_total{${S}}[$__range]))`, legend: "" }] }),
    stat({ title: "Entries", about: "Entries of all caches.", unit: "short", width: 4, queries: [{ expr: `sum(${once("stowhouse_cache_entries", "namespace, service, cache, keyspace, trusted")})`, legend: "" }] }),
    stat({ title: "Held", about: "Bytes of all entries.", unit: "bytes", width: 4, queries: [{ expr: `sum(${once("stowhouse_cache_bytes", "namespace, service, cache, keyspace, trusted")})`, legend: "" }] }),
    stat({ title: "Servers up", about: "Processes that Prometheus reaches.", unit: "short", width: 4, queries: [{ expr: `sum(up{${S}})`, legend: "" }] }),
  ],
};

const hits: Row = {
  title: "Hits",
  panels: [
    lines({ title: "Hit rate by tool", about: "Of each protocol. A fall after a change of keys is usual; a fall without one means eviction or a new branch without a base.", unit: "percentunit", min: 0, max: 1, width: 12, queries: [{ expr: hitRate("protocol"), legend: "{{protocol}}" }] }),
    lines({ title: "Hit rate by cache", about: "Of each cache. A cache with a low hit rate and many evictions needs a larger quota.", unit: "percentunit", min: 0, max: 1, width: 12, queries: [{ expr: hitRate("cache"), legend: "{{cache}}" }] }),
    lines({ title: "Look-ups", about: "Hits and misses.", unit: "reqps", min: 0, width: 12, queries: [{ expr: `sum by (protocol, result) (${rate("stowhouse_lookups_total")})`, legend: "{{protocol}} {{result}}" }] }),
    lines({ title: "Traffic by cache", about: "Bytes of bodies sent to the clients of each cache.", unit: "Bps", min: 0, width: 12, queries: [{ expr: `sum by (cache) (${rate("stowhouse_sent_bytes_total", ',cache!=""')})`, legend: "{{cache}}" }] }),
    lines({ title: "Traffic by tool", about: "Bytes of bodies sent to clients (served) and received from them (saved).", unit: "Bps", min: 0, width: 12, queries: [{ expr: `sum by (protocol) (${rate("stowhouse_sent_bytes_total")})`, legend: "{{protocol}} served" }, { expr: `sum by (protocol) (${rate("stowhouse_received_bytes_total")})`, legend: "{{protocol}} saved" }] }),
  ],
};

const latency = (quantile: number) =>
  `histogram_quantile(${quantile}, sum by (protocol, le) (${rate("stowhouse_request_duration_seconds_bucket")}))`;

const service: Row = {
  title: "Service",
  panels: [
    lines({ title: "Latency", about: "From a request's head to the end of its answer, bodies included: 50 and 95 of 100 are as fast.", unit: "s", min: 0, width: 12, queries: [{ expr: latency(0.5), legend: "{{protocol}} p50" }, { expr: latency(0.95), legend: "{{protocol}} p95" }] }),
    lines({ title: "Requests", about: "Requests of each protocol by result.", unit: "reqps", min: 0, width: 12, queries: [{ expr: `sum by (protocol, result) (${rate("stowhouse_requests_total")})`, legend: "{{protocol}} {{result}}" }] }),
    lines({ title: "Errors", about: "Requests the server failed, and calls of storages that failed. 0 is usual.", unit: "reqps", min: 0, width: 12, queries: [{ expr: `sum by (protocol) (${rate("stowhouse_requests_total", ',result="error"')}) or vector(0)`, legend: "{{protocol}}" }, { expr: `sum by (storage) (${rate("stowhouse_storage_operations_total", ',result="error"')}) or vector(0)`, legend: "storage {{storage}}" }] }),
    lines({ title: "Failed uploads", about: "Bodies that were sent but not stored, by result: refused (quota, limits), error (storage), aborted (client).", unit: "reqps", min: 0, width: 12, queries: [{ expr: `sum by (protocol, result) (${rate("stowhouse_upload_failures_total")}) or vector(0)`, legend: "{{protocol}} {{result}}" }] }),
    lines({ title: "Refused requests by key", about: "denied: no right to it; refused: over a limit or a quota. The audit log has each; stowhouse key list names the keys.", unit: "reqps", min: 0, width: 12, queries: [{ expr: `topk(20, sum by (key, result) (${rate("stowhouse_refused_requests_total")})) or vector(0)`, legend: "{{key}} {{result}}" }] }),
    lines({ title: "Storage calls", about: "95 of 100 calls of each storage are as fast.", unit: "s", min: 0, width: 12, queries: [{ expr: `histogram_quantile(0.95, sum by (storage, op, le) (${rate("stowhouse_storage_operation_duration_seconds_bucket")}))`, legend: "{{storage}} {{op}}" }] }),
  ],
};

const upstreams: Row = {
  title: "Upstreams",
  panels: [
    lines({ title: "Questions to upstreams", about: "What upstreams of Nix caches answered; without upstreams, none.", unit: "reqps", min: 0, width: 8, queries: [{ expr: `sum by (upstream, result) (${rate("stowhouse_upstream_requests_total")}) or vector(0)`, legend: "{{upstream}} {{result}}" }] }),
    lines({ title: "Upstream latency", about: "95 of 100 answers come as fast; of NARs, their beginning.", unit: "s", min: 0, width: 8, queries: [{ expr: `histogram_quantile(0.95, sum by (upstream, kind, le) (${rate("stowhouse_upstream_request_duration_seconds_bucket")})) or vector(0)`, legend: "{{upstream}} {{kind}}" }] }),
    lines({ title: "Left alone", about: "1 while an upstream is not asked because it failed too often.", unit: "short", min: 0, max: 1, width: 8, queries: [{ expr: `${once("stowhouse_upstream_open", "cache, upstream")} or vector(0)`, legend: "{{cache}} {{upstream}}" }] }),
  ],
};

const capacity: Row = {
  title: "Capacity",
  panels: [
    areas({ title: "Held by cache", about: "Bytes of entries, by cache.", unit: "bytes", min: 0, width: 12, queries: [{ expr: `sum by (cache) (${once("stowhouse_cache_bytes", "namespace, service, cache, keyspace, trusted")})`, legend: "{{cache}}" }] }),
    bars({ title: "Quota in use", about: "Full is usual: the least recently used entries go. Look at evictions and hit rate to judge the quota.", unit: "percentunit", min: 0, max: 1, width: 6, queries: [{ expr: `sum by (cache) (${once("stowhouse_cache_bytes", "namespace, service, cache, keyspace, trusted")}) / sum by (cache) (${once("stowhouse_cache_quota_bytes", "namespace, service, cache")})`, legend: "{{cache}}" }] }),
    bars({ title: "Untrusted share", about: "Part of each cache that pull requests and other untrusted scopes wrote.", unit: "percentunit", min: 0, max: 1, width: 6, queries: [{ expr: `sum by (cache) (max by (namespace, service, cache, keyspace) (stowhouse_cache_bytes{${S},trusted="false"})) / sum by (cache) (${once("stowhouse_cache_bytes", "namespace, service, cache, keyspace, trusted")}) or 0 * sum by (cache) (${once("stowhouse_cache_quota_bytes", "namespace, service, cache")})`, legend: "{{cache}}" }] }),
    lines({ title: "Evictions", about: "Entries removed, by cache and reason. Many by quota and a falling hit rate: give the cache more.", unit: "ops", min: 0, width: 12, queries: [{ expr: `sum by (cache, reason) (${rate("stowhouse_evicted_entries_total")}) or vector(0)`, legend: "{{cache}} {{reason}}" }] }),
    lines({ title: "Free on disk", about: "Of each storage that has an end.", unit: "bytes", min: 0, width: 12, queries: [{ expr: once("stowhouse_storage_free_bytes", "service, storage"), legend: "{{service}} {{storage}}" }] }),
    lines({ title: "Mean age of entries", about: "What is evicted young was kept too short to be of use.", unit: "s", min: 0, width: 12, queries: [{ expr: once("stowhouse_entry_age_seconds", "cache, keyspace"), legend: "{{cache}} {{keyspace}}" }] }),
    lines({ title: "Read cache", about: "Hit rate of the local copies in front of S3; without S3, none.", unit: "percentunit", min: 0, max: 1, width: 12, queries: [{ expr: `sum by (storage) (${rate("stowhouse_read_cache_requests_total", ',result="hit"')}) / sum by (storage) (${rate("stowhouse_read_cache_requests_total")}) or vector(0)`, legend: "{{storage}}" }] }),
  ],
};

const processes: Row = {
  title: "Processes",
  panels: [
    lines({ title: "Memory", about: "Resident memory of each replica.", unit: "bytes", min: 0, width: 8, queries: [{ expr: `stowhouse_process_resident_memory_bytes{${S}}`, legend: "{{instance}}" }] }),
    lines({ title: "CPU", about: "Processors in use.", unit: "short", min: 0, width: 8, queries: [{ expr: rate("stowhouse_process_cpu_seconds_total"), legend: "{{instance}}" }] }),
    lines({ title: "Database", about: "1 while the database answers.", unit: "short", min: 0, max: 1, width: 8, queries: [{ expr: `min by (service) (stowhouse_database_up{${S}})`, legend: "{{service}}" }] }),
  ],
};

export const dashboard: Dashboard = board({
  uid: "stowhouse-servers",
  title: "Stowhouse",
  about: "Hit rate, traffic, latency, errors, evictions and capacity of Stowhouse servers.",
  variables: [labelVariable("namespace", "Namespace", "stowhouse_database_up"), labelVariable("service", "Service", "stowhouse_database_up")],
  rows: [overview, hits, service, upstreams, capacity, processes],
});

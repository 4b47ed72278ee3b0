/**
 * Least and largest values of sizes and durations, by field, in words. They stand beside the schema because JSON Schema
 * has no word for the bounds of a string. Every timer stays below 2^31 ms: Node runs a longer one at once.
 */
export const BOUNDS: Readonly<Record<string, readonly [least: string, largest: string]>> = {
  inlineLimit: ["0", "1MiB"],
  "storages.<name>.readCache.size": ["0", "1PiB"],
  "storages.<name>.s3.partSize": ["5MiB", "64MiB"],
  "storages.<name>.s3.connectTimeout": ["100ms", "5m"],
  "storages.<name>.s3.requestTimeout": ["1s", "1h"],
  "storages.<name>.s3.idleTimeout": ["1s", "1h"],
  "caches.<name>.quota": ["1KiB", "1PiB"],
  "caches.<name>.retention": ["1s", "3650d"],
  "caches.<name>.untrustedIdle": ["1s", "3650d"],
  "caches.<name>.entrySize": ["1KiB", "1PiB"],
  "auth.sessionLifetime": ["1s", "6h"],
  "auth.maxSessionLifetime": ["1s", "6h"],
  "auth.github.jwksTimeout": ["100ms", "1m"],
  "limits.entrySize": ["1KiB", "1PiB"],
  "limits.uploadIdle": ["1s", "7d"],
  "limits.headerSize": ["4KiB", "1MiB"],
  "limits.jsonBody": ["16KiB", "64MiB"],
  "limits.bodyStall": ["100ms", "1h"],
  "limits.headersTimeout": ["100ms", "10m"],
  "memory.bodies": ["0", "1TiB"],
  "memory.unwritten": ["1MiB", "1TiB"],
  "eviction.interval": ["100ms", "1d"],
  "eviction.grace": ["1s", "7d"],
  "audit.retention": ["1m", "3650d"],
  "shutdown.delay": ["0", "5m"],
  "shutdown.drain": ["0", "1h"],
};

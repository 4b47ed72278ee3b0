import Type, { type TObject, type TSchema, type TUnsafe } from "typebox";
import { Auth } from "./auth.ts";
import { CacheSettings } from "./caches.ts";
import { duration, flag, integer, kind, list, map, oneOf, optional, percent, section, size, text, type Field } from "./fields.ts";
import { ADDRESS, CIDR, ORIGIN } from "./kinds.ts";
import { Storages } from "./storages.ts";

/** What every protocol's settings have, whatever else its options schema adds. */
export interface ProtocolSettings {
  readonly enabled: boolean;
  readonly [option: string]: unknown;
}

/** The options of each protocol by its name in the configuration. */
export type ProtocolOptions = Readonly<Record<string, TSchema>>;

const enabled = flag({ default: true, description: "Whether the server speaks this protocol." });

function protocolSection(name: string, options: TSchema): TSchema {
  const declared = (options as Field).properties ?? {};
  return section((options as Field).description ?? `Protocol ${name}.`, { enabled, ...declared } as Record<string, TSchema>);
}

function protocolsSection(protocols: ProtocolOptions): TUnsafe<Record<string, ProtocolSettings>> {
  const sections = Object.entries(protocols).map(([name, options]) => [name, protocolSection(name, options)] as const);
  return Type.Unsafe(section("Settings of each protocol, by name.", Object.fromEntries(sections)) as TObject);
}

/** The schema of the whole configuration, with the protocols this server has. */
export function configSchema(protocols: ProtocolOptions) {
  return section("Configuration of a Stowhouse server.", {
    listen: kind(ADDRESS, { default: "127.0.0.1:8420", description: "Where the server listens; port 0 takes a free one." }),
    url: optional(kind(ORIGIN, { maxLength: 300, description: "Public URL of the server. Default: what each request says in Host." })),
    data: text({ default: "./data", description: "Directory for everything the server keeps on disk by default." }),
    processes: integer(1, 64, {
      default: 1,
      description: "Processes that serve on this machine; more than one pays from four cores on. RAM and limits are of each.",
    }),
    database: section("The index of all entries.", {
      type: oneOf(["sqlite", "postgres"], { default: "sqlite", description: "SQLite needs nothing; several replicas need PostgreSQL." }),
      path: optional(text({ description: "Only with type sqlite: the file. Default: stowhouse.db in the data directory." })),
      url: optional(text({ format: "password", description: "Only with type postgres: postgres://user:password@host:port/database." })),
      maxConnections: integer(1, 1000, { default: 10, description: "Only with type postgres: connections this process opens at most." }),
    }),
    inlineLimit: size({ default: "64KiB", description: "Bodies up to this size are kept in the database." }),
    storages: Storages,
    caches: map(CacheSettings, { default: { default: {} }, description: "Caches by name; the one named default always exists." }),
    auth: Auth,
    limits: section("What one client may ask of the server.", {
      entrySize: size({ default: "20GiB", description: "Largest entry of any cache." }),
      requestsPerMinute: integer(0, 10_000_000, {
        default: 6000,
        description: "Requests of one credential from one address; 0 for no limit. Valid keys on loopback have none.",
      }),
      uploads: integer(1, 100_000, { default: 200, description: "Open uploads of one credential." }),
      concurrentBodies: integer(1, 10_000, { default: 64, description: "Large bodies received at once; further ones wait." }),
      uploadIdle: duration({ default: "15m", description: "An upload in parts that nobody adds to for so long has expired." }),
      headerSize: size({ default: "16KiB", description: "Largest head of a request." }),
      jsonBody: size({ default: "1MiB", description: "Largest JSON or protobuf request." }),
      bodyStall: duration({ default: "30s", description: "Longest silence while a body arrives." }),
      headersTimeout: duration({ default: "10s", description: "Longest time for the head of a request to arrive." }),
      partsPerUpload: integer(1, 1_000_000, { default: 50_000, description: "Parts of one upload." }),
    }),
    memory: section("What the server keeps in RAM.", {
      entries: integer(0, 100_000_000, { default: 100_000, description: "Entries looked up lately, hits and misses." }),
      bodies: size({ default: "64MiB", description: "Small bodies read lately." }),
      front: flag({ default: true, description: "Whether hits in RAM are answered before the router; the answers are the same." }),
      unwritten: size({ default: "24MiB", description: "Bytes of all uploads that wait to be written." }),
    }),
    eviction: section("Making room, in the background.", {
      interval: duration({ default: "10s", description: "Time between two passes." }),
      highWater: percent({ default: "100%", description: "Part of its quota at which a cache starts to lose entries." }),
      lowWater: percent({ default: "95%", description: "Part of its quota at which a cache stops losing entries." }),
      minFree: percent({ default: "5%", description: "Part of each disk that is kept free, whatever the quotas say." }),
      grace: duration({ default: "15m", description: "How long bytes outlive their last entry; longer than any download." }),
    }),
    tls: section("TLS in this process; files are read again when they change.", {
      cert: optional(text({ description: "PEM file of the certificate chain." })),
      key: optional(text({ description: "PEM file of the private key." })),
      clientCa: optional(text({ description: "PEM file of the authorities that sign client certificates." })),
      requireClientCert: flag({ default: false, description: "Whether clients without a certificate are refused." }),
    }),
    trustedProxies: list(kind(CIDR, { description: "Address or network of a proxy." }), {
      default: [],
      maxItems: 100,
      description: "Proxies whose X-Forwarded-* headers are believed.",
    }),
    metrics: section("Prometheus metrics.", {
      listen: optional(kind(ADDRESS, { description: "A port of its own for /metrics, without authentication. Default: none." })),
      access: oneOf(["open", "admin"], {
        default: "open",
        description: "Who may read /metrics on the server's own port: everyone (it names caches), or admin keys.",
      }),
    }),
    log: section("Lines on standard output.", {
      level: oneOf(["fatal", "error", "warn", "info", "debug", "trace", "silent"], { default: "info", description: "Least severity that is written." }),
      access: flag({ default: true, description: "Whether each request gets a line." }),
    }),
    audit: section("Who did what: lines and a table.", {
      reads: flag({ default: false, description: "Whether reads are recorded beside writes, deletes, refusals and key use." }),
      retention: duration({ default: "90d", description: "How long rows are kept." }),
    }),
    shutdown: section("A graceful end.", {
      delay: duration({ default: "0", description: "How long the server goes on serving after it was told to stop, not ready any more, until load balancers have noticed." }),
      drain: duration({ default: "30s", description: "Longest time for running requests to finish." }),
    }),
    protocols: protocolsSection(protocols),
  });
}

/** The schema without any protocol's options. */
export const ConfigSchema = configSchema({});

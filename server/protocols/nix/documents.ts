import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import { decoded, whole } from "./decode.ts";
import { DEBUGINFO, LISTINGS, LOGS } from "./keyspaces.ts";
import { cacheControl } from "./own-source.ts";
import { parseBaseName } from "./store-path.ts";
import { PATHS } from "./wire.ts";

/** Seconds for which a proxy may keep one. */
const AGE = 300;
const MAX_DEBUGINFO = 64 * 1024;

interface Document {
  readonly path: string;
  readonly op: string;
  readonly keyspace: Keyspace;
  /** Its param. */
  readonly name: string;
  readonly type: string;
  /** Bytes, decoded. */
  readonly limit: number;
  readonly keyed?: (key: string) => boolean;
  /** @throws badRequest */
  readonly check?: (body: Buffer) => void;
}

/** What belongs to a path and is kept as it came: nothing of it is signed, and scopes keep it apart like narinfos. */
const DOCUMENTS: readonly Document[] = [
  { path: PATHS.listing, op: "listing", keyspace: LISTINGS, name: "hash", type: "application/json", limit: 64 * 1024 * 1024 },
  { path: PATHS.log, op: "log", keyspace: LOGS, name: "drv", type: "text/plain; charset=utf-8", limit: 256 * 1024 * 1024, keyed: (key) => parseBaseName(key) !== undefined },
  { path: PATHS.debuginfo, op: "debuginfo", keyspace: DEBUGINFO, name: "id", type: "application/json", limit: MAX_DEBUGINFO, check: checkDebuginfo },
];

export function registerDocuments(app: FastifyInstance, mount: string, { auth, core, receive, send }: ProtocolContext<unknown>): void {
  for (const { path, op, keyspace, name, type, limit, keyed, check } of DOCUMENTS) {
    const keyOf = (request: FastifyRequest) => {
      const key = (request.params as Record<string, string>)[name]!;
      if (keyed && !keyed(key)) throw errors.notFound();
      return key;
    };
    app.get(mount + path, { config: { op, kind: "get", keyspace: keyspace.name } }, async (request, reply): Promise<FastifyReply> => {
      const grant = auth.grant(request);
      // A browser must not take a log for a page.
      const headers = { "cache-control": cacheControl(request, `max-age=${AGE}`), "x-content-type-options": "nosniff" };
      return send.lookup(request, reply, await core.catalog.get(grant, keyspace, keyOf(request)), { type, headers, grant });
    });
    app.put(mount + path, { config: { op: `${op}.put`, kind: "upload", keyspace: keyspace.name } }, async (request, reply) => {
      const grant = auth.writer(request);
      const key = keyOf(request);
      let body: AsyncIterable<Buffer> | Buffer = decoded(receive.body(request).stream, request.headers["content-encoding"], limit);
      if (check) check((body = await whole(body)));
      const { entry: before } = await core.catalog.get({ ...grant, read: [grant.write] }, keyspace, key);
      // Nobody untrusted changes what a trusted writer of the same scope wrote.
      const kept = before?.trusted === true && !grant.trusted;
      if (kept) await discard(body);
      else await core.bodies.put(grant, keyspace, key, body, { overwrite: true, address: request.stow.address });
      request.stow.result = kept ? "exists" : "stored";
      return reply.code(204).send();
    });
  }
}

async function discard(body: AsyncIterable<Buffer> | Buffer): Promise<void> {
  if (!Buffer.isBuffer(body)) for await (const _ of body);
}

/** Debuggers follow its archive, so it must be one of this cache's NARs. */
function checkDebuginfo(body: Buffer): void {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    // Said below.
  }
  const { archive, member } = (value ?? {}) as { archive?: unknown; member?: unknown };
  if (typeof archive !== "string" || !/^\.\.\/nar\/[0-9a-zA-Z._-]{1,200}$/.test(archive) || typeof member !== "string") {
    throw errors.badRequest("debuginfo names an archive ../nar/… and a member in it");
  }
}

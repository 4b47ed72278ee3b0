import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors, StowError } from "../../core/errors.ts";
import type { OperationKind } from "../../http/context.ts";
import type { ProtocolContext } from "../protocol.ts";
import { valid } from "../valid.ts";
import { WireError } from "../wire.ts";
import { ACTIONS, type Actions } from "./actions.ts";
import { idOf, prefixOf, type Named } from "./cacheprog.ts";
import { Manifests, MANIFESTS, merged } from "./manifests.ts";
import { RecordSender } from "./records.ts";
import { BUNDLE, formatBundleHead, GET_MANY, HAVE_BYTES, ID_BYTES, MANIFEST, MAX_IDS, MAX_LABEL, MAX_PUT_MANY, MAX_SMALL, parseIds, PUT_MANY, RecordParser, type Received } from "./wire.ts";

/** Entries of one request that are written at once: enough to share commits. */
const WRITING = 32;
const OCTETS = { "content-type": "application/octet-stream" };

/** Our own helper's endpoints: what a build needs in one stream, in the order in which the last one asked for it. */
export function registerNative(app: FastifyInstance, { auth, core, receive, send }: ProtocolContext, actions: Actions): void {
  const manifests = new Manifests(core);
  const records = new RecordSender(core, actions);

  app.post(BUNDLE, labels("bundle", "get", ACTIONS.name), async (request, reply) => {
    const grant = auth.grant(request);
    const prefix = prefixOf(request as Named);
    const { near } = request.query as { near?: unknown };
    const label = near === undefined ? labelOf(request) : "";
    const have = haveOf(await receive.buffer(request, MAX_IDS * HAVE_BYTES));
    const listed = near === undefined ? (await manifests.read(grant, label)).map(({ action }) => action) : await actions.near(grant, idOf(String(near)), prefix);
    if (listed.length === 0) throw errors.notFound();
    const wanted = listed.filter((action) => action === near || !have.has(action.slice(0, 2 * HAVE_BYTES)));
    return send.produced(request, reply, OCTETS, async (push) => {
      await push(formatBundleHead(wanted));
      await records.send(wanted, grant, prefix, push);
    });
  });

  app.post(GET_MANY, labels("get-many", "get", ACTIONS.name), async (request, reply) => {
    const grant = auth.grant(request);
    const prefix = prefixOf(request as Named);
    const body = await receive.buffer(request, MAX_IDS * ID_BYTES);
    const wanted = valid(() => parseIds(body));
    return send.produced(request, reply, OCTETS, (push) => records.send(wanted, grant, prefix, push));
  });

  app.post(PUT_MANY, labels("put-many", "upload", ACTIONS.name), async (request) => {
    const grant = auth.writer(request);
    const prefix = prefixOf(request as Named);
    const body = await receive.buffer(request, MAX_PUT_MANY);
    const received = valid(() => parseRecords(body));
    const refused: string[] = [];
    for (let from = 0; from < received.length; from += WRITING) {
      const put = ({ head: { action, output, size, zstd, stored }, body }: Received) =>
        actions.put(grant, body, { action, prefix, output: { output, size, zstd }, stored, address: request.stow.address });
      for (const done of await Promise.allSettled(received.slice(from, from + WRITING).map(put))) {
        if (done.status === "fulfilled") continue;
        if (!(done.reason instanceof StowError)) throw done.reason;
        refused.push(done.reason.code);
      }
    }
    request.stow.result = "stored";
    return { stored: received.length - refused.length, refused };
  });

  app.post(MANIFEST, labels("manifest", "other", MANIFESTS.name), async (request) => {
    const grant = auth.writer(request);
    const label = labelOf(request);
    const body = await receive.buffer(request, MAX_IDS * ID_BYTES);
    const used = valid(() => parseIds(body));
    await manifests.write(grant, label, merged(used, await manifests.read(grant, label)), request.stow.address);
    request.stow.result = "stored";
    return { listed: used.length };
  });
}

function labels(op: string, kind: OperationKind, keyspace: string) {
  return { config: { op, kind, keyspace } };
}

function labelOf(request: FastifyRequest): string {
  const { label } = request.query as { label?: unknown };
  if (typeof label !== "string" || label === "" || label.length > MAX_LABEL) throw errors.badRequest(`label is missing or longer than ${MAX_LABEL} characters`);
  return label;
}

function parseRecords(bytes: Buffer): Received[] {
  const parser = new RecordParser(MAX_SMALL);
  const received = [...parser.push(bytes)];
  if (!parser.idle) throw new WireError("the body ends in the middle of a record");
  if (received.some(({ head }) => !head.found)) throw new WireError("a record without an entry");
  return received;
}

function haveOf(bytes: Buffer): ReadonlySet<string> {
  if (bytes.length % HAVE_BYTES !== 0) throw errors.badRequest("the body is no list of beginnings of actions");
  return new Set(Array.from({ length: bytes.length / HAVE_BYTES }, (_, i) => bytes.toString("hex", i * HAVE_BYTES, (i + 1) * HAVE_BYTES)));
}

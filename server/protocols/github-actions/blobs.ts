import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { Upload } from "../../core/uploads.ts";
import { isCacheName } from "../../core/scope.ts";
import type { ProtocolContext } from "../protocol.ts";
import { blockId, MAX_BLOCK_LIST, parseBlockList, placesOf, sentBlock, UNLISTED, WHOLE_BLOB } from "./block-list.ts";
import { GHA } from "./service.ts";

const WRITE = "/_blob/write/:cache/:upload";
const READ = "/_blob/read/:cache/:entry/:actor";

type WriteParams = { cache: string; upload: string };
type ReadParams = { cache: string; entry: string; actor: string };

/** The part of Azure's Block Blob service which the clients use, behind URLs signed by us (github-actions.md §1.4, §1.5). */
export function registerBlobs(app: FastifyInstance, context: ProtocolContext): void {
  const { auth, core, receive, send } = context;
  const { uploads } = core;

  app.put<{ Params: WriteParams }>(WRITE, { config: { op: "upload", keyspace: GHA.name, auth: "signed" } }, async (request, reply) => {
    const upload = await reservation(request);
    const { comp, blockid } = request.query as Record<string, unknown>;
    if (comp === undefined) await putBlob(request, upload);
    else if (comp === "block") await putBlock(request, upload, blockid);
    else if (comp === "blocklist") await putBlockList(request, upload);
    else throw errors.badRequest("comp is neither block nor blocklist");
    request.stow.result = "stored";
    // go-actions-cache dies of an answer without a request id.
    return reply.code(201).headers({ "x-ms-request-id": randomUUID(), etag: `"${randomUUID()}"`, "last-modified": new Date().toUTCString() }).send();
  });
  app.route({
    method: ["GET", "HEAD", "DELETE", "POST", "PATCH"], url: WRITE, config: { op: "upload", auth: "none" },
    handler: () => Promise.reject(errors.methodNotAllowed("PUT")),
  });

  async function reservation(request: FastifyRequest<{ Params: WriteParams }>): Promise<Upload> {
    const { cache, upload: id } = request.params;
    const upload = await uploads.get(id);
    await auth.signed(request, { op: "write", cache: upload.cache, id: upload.id, actor: upload.actor });
    if (upload.cache !== cache || upload.keyspace !== GHA.name) throw errors.uploadGone();
    return upload;
  }

  async function putBlob(request: FastifyRequest, upload: Upload): Promise<void> {
    if (request.headers["x-ms-blob-type"] !== "BlockBlob") throw errors.badRequest("x-ms-blob-type is not BlockBlob");
    const { size, stream } = receive.body(request);
    await uploads.part(upload, WHOLE_BLOB, 0, stream, { size });
  }

  async function putBlock(request: FastifyRequest, upload: Upload, id: unknown): Promise<void> {
    // A client that doesn't escape the plus signs of base64 means them all the same.
    const name = sentBlock(blockId(typeof id === "string" ? id.replaceAll(" ", "+") : ""));
    const { size, stream } = receive.body(request);
    await uploads.part(upload, name, UNLISTED, stream, { size });
  }

  async function putBlockList(request: FastifyRequest, upload: Upload): Promise<void> {
    const list = parseBlockList((await receive.buffer(request, MAX_BLOCK_LIST)).toString("utf8"));
    await uploads.arrange(upload, placesOf(list));
    // An empty list makes an empty blob, not none.
    if (list.length === 0) await uploads.part(upload, WHOLE_BLOB, 0, Buffer.alloc(0));
  }

  const download = async (request: FastifyRequest<{ Params: ReadParams }>, reply: FastifyReply) => {
    const { cache, entry: id } = request.params;
    const actor = Buffer.from(request.params.actor, "base64url").toString("utf8");
    if (!isCacheName(cache) || !/^\d{1,15}$/.test(id) || !/^[\x21-\x7e]{1,200}$/.test(actor)) throw errors.tokenInvalid("the URL is not one of ours");
    const until = await auth.signed(request, { op: "read", cache, id, actor });
    const lookup = await core.catalog.byId(Number(id));
    if (lookup.entry?.cache !== cache || lookup.entry.keyspace !== GHA.name) throw errors.notFound();
    return send.lookup(request, reply, lookup, { redirect: true, until });
  };
  app.get(READ, { exposeHeadRoute: false, config: { op: "download", kind: "download", keyspace: GHA.name, auth: "signed" } }, download);
  app.head(READ, { config: { op: "stat", keyspace: GHA.name, auth: "signed" } }, download);
}

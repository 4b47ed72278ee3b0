import Type from "typebox";
import type { FastifyReply, FastifyRequest } from "fastify";
import { ARCHIVES } from "../../core/archives.ts";
import { errors } from "../../core/errors.ts";
import type { OperationKind } from "../../http/context.ts";
import type { Protocol } from "../protocol.ts";
import { valid } from "../valid.ts";
import { storeBlobs } from "./bulk.ts";
import { refusals } from "./refusals.ts";
import { ArchiveService } from "./service.ts";
import { Verifier } from "./verify.ts";
import { bodyPath, blobsPath, commitPath, FIND, formatHave, havePath, ID_BYTES, MAX_HAVE, MAX_MANIFEST, parseFind, parseReserve, RESERVE, uploadPath } from "./wire.ts";

/** Longest JSON of a look-up or a reservation, bytes. */
const MAX_MESSAGE = 64 * 1024;

type Numbered = FastifyRequest<{ Params: { id: string } }>;

/** Saved directories, deduplicated (README.md); the action's own protocol. */
export const archive = {
  name: "archive",
  options: Type.Object({}, { description: "Directories that the action saves and restores, deduplicated." }),
  keyspaces: [ARCHIVES],
  refusals,
  plugin(app, context) {
    const { core, receive, send } = context;
    const service = new ArchiveService(context);
    const verifier = new Verifier();
    app.addHook("onClose", () => verifier.close());

    app.post(FIND, labels("lookup", "lookup"), async (request) => {
      const message = await receive.buffer(request, MAX_MESSAGE);
      const found = await service.find(request, valid(() => parseFind(message)));
      return found ? { hit: true, ...found } : { hit: false };
    });
    app.post(RESERVE, labels("reserve", "other"), async (request, reply) => {
      const message = await receive.buffer(request, MAX_MESSAGE);
      const reserved = await service.reserve(request, valid(() => parseReserve(message)));
      return reply.code(201).send("entry" in reserved ? { committed: true, id: reserved.entry.id, size: reserved.entry.size } : { upload: reserved.upload.id });
    });
    app.post(havePath(":id"), labels("have", "other"), async (request, reply) => {
      const bytes = await receive.buffer(request, MAX_HAVE * ID_BYTES);
      if (bytes.length === 0 || bytes.length % ID_BYTES !== 0) throw errors.badRequest("the body is no list of chunk identifiers");
      const ids = Array.from({ length: bytes.length / ID_BYTES }, (_, i) => bytes.subarray(i * ID_BYTES, (i + 1) * ID_BYTES));
      return reply.type("application/octet-stream").send(formatHave(await service.have(request as Numbered, ids)));
    });
    app.post(blobsPath(":id"), labels("blobs", "other"), async (request) => {
      const { upload } = await service.upload(request as Numbered);
      const stored = await storeBlobs(core.uploads, verifier, upload, receive.body(request).stream);
      request.stow.result = "stored";
      return { stored };
    });
    app.delete(uploadPath(":id"), labels("abort", "other"), async (request, reply) => {
      await core.uploads.abort((await service.upload(request as Numbered)).upload);
      return reply.code(204).send();
    });
    app.post(commitPath(":id"), labels("commit", "upload"), async (request) => {
      const committed = await service.commit(request as Numbered, await receive.buffer(request, MAX_MANIFEST));
      return "entry" in committed ? { id: committed.entry.id, size: committed.entry.size } : committed;
    });

    const download = async (request: FastifyRequest, reply: FastifyReply) => {
      const { lookup, grant } = await service.entry(request, (request as Numbered).params.id);
      return send.lookup(request, reply, lookup!, { grant });
    };
    app.get(BODY, { exposeHeadRoute: false, ...labels("download", "download") }, download);
    app.head(BODY, labels("stat", "other"), download);
  },
} satisfies Protocol;

const BODY = bodyPath(":id");

function labels(op: string, kind: OperationKind) {
  return { config: { op, kind, keyspace: ARCHIVES.name } };
}


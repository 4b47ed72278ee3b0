import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Entry } from "../../../core/entry.ts";
import { errors } from "../../../core/errors.ts";
import type { ProtocolContext } from "../../protocol.ts";
import { valid } from "../../valid.ts";
import { parseJson } from "../json.ts";
import { NARINFOS, NARS, PUSHES } from "../keyspaces.ts";
import { fingerprint, MAX_NARINFO } from "../narinfo.ts";
import { contentOf } from "../nars.ts";
import type { NixOptions } from "../options.ts";
import type { Services } from "../services.ts";
import { STORE_HASH } from "../store-path.ts";
import { Multipart, type UploadName, type Writer } from "./multipart.ts";
import type { RegisteredKeys } from "./registered-keys.ts";
import { API, md5Of, narInfoOf, parseCompletion, parseCompression, parseCreated, parsePartNumber, parseSigningData, type Created } from "./wire.ts";

/** Seconds for which the URL of a part is good. */
const PART_LIFETIME = 900;
/** The URL of a part says all that its signature covers: no header of the client's is asked for. */
const PART = "/api/v1/nar-part/:cache(^[a-z0-9][a-z0-9-]{0,62})/:nar/:number(^\\d{1,5})/:md5(^[0-9a-f]{32})/:actor";
const MAX_COMPLETION = 2 * 1024 * 1024;
const MAX_SIGNING = 4_096;

type Params = Record<string, string>;
type Named = FastifyRequest<{ Params: Params; Querystring: Record<string, unknown> }>;

/** What `cachix push` sends (nix.md §3.1): a NAR in parts to signed URLs, then what tells of it. */
export function registerPush(app: FastifyInstance, context: ProtocolContext<NixOptions>, { nars, narInfos }: Services, keys: RegisteredKeys): void {
  const { auth, core, options, receive, signer, urls } = context;
  const multipart = new Multipart(core, nars);
  const nar = `${API}/multipart-nar`;

  app.post(nar, labels("cachix.create", PUSHES.name), async (request) => {
    const grant = auth.writer(request);
    const { narId, uploadId } = await multipart.create(grant, valid(() => parseCompression((request as Named).query["compression"])));
    return { narId, uploadId };
  });

  app.post(`${nar}/:nar`, labels("cachix.sign", PUSHES.name), async (request) => {
    const grant = auth.writer(request);
    const number = valid(() => parsePartNumber((request as Named).query["partNumber"]));
    const bytes = await receive.buffer(request, MAX_SIGNING);
    const md5 = valid(() => parseSigningData(parseJson(bytes)));
    const upload = await multipart.find(grant, nameOf(request));
    const path = `/api/v1/nar-part/${upload.cache}/${nameOf(request).narId}/${number}/${md5}/${Buffer.from(grant.actor).toString("base64url")}`;
    const query = signer.sign(signedPart(upload.cache, upload.id, number, md5, grant.actor), PART_LIFETIME);
    return { uploadUrl: `${urls.origin(request)}${path}?${query}` };
  });

  app.put(PART, { config: { op: "cachix.part", kind: "upload", keyspace: PUSHES.name, auth: "signed" } }, async (request, reply) => {
    const { cache = "", nar: narId = "", number: digits = "", md5 = "", actor: encoded = "" } = (request as Named).params;
    const actor = Buffer.from(encoded, "base64url").toString("utf8");
    const number = Number(digits);
    if (!/^[\x21-\x7e]{1,200}$/.test(actor)) throw errors.tokenInvalid("the URL is not one of ours");
    await auth.signed(request, signedPart(cache, narId.replaceAll("-", ""), number, md5, actor));
    const said = request.headers["content-md5"];
    if (said !== undefined && md5Of(said) !== md5) throw errors.badRequest("Content-MD5 is not the one this URL was made for");
    const upload = await multipart.byId(narId);
    const { size, stream } = receive.body(request);
    await multipart.part(upload, number, md5, stream, size);
    request.stow.result = "stored";
    return reply.header("etag", `"${md5}"`).send("");
  });

  app.post(`${nar}/:nar/complete`, labels("cachix.complete", NARS.name), async (request) => {
    const grant = auth.writer(request);
    const bytes = await receive.buffer(request, MAX_COMPLETION);
    const completion = valid(() => parseCompletion(parseJson(bytes)));
    const entry = await multipart.complete(grant, nameOf(request), completion, request.stow.address);
    return tell(request, grant, completion.created, entry);
  });

  app.post(`${nar}/:nar/abort`, labels("cachix.abort", PUSHES.name), async (request) => {
    const grant = auth.writer(request);
    await multipart.abort(await multipart.find(grant, nameOf(request)));
    return {};
  });

  app.post(`${API}/nar`, labels("cachix.nar", NARS.name), async (request) => {
    const grant = auth.writer(request);
    const compression = valid(() => parseCompression((request as Named).query["compression"]));
    const { size, stream } = receive.body(request);
    await multipart.whole(grant, compression, stream, size, request.stow.address);
    request.stow.result = "stored";
    return {};
  });

  app.post(`${API}/:hash(^${STORE_HASH}).narinfo`, labels("cachix.narinfo", NARINFOS.name), async (request) => {
    const grant = auth.writer(request);
    const bytes = await receive.buffer(request, MAX_NARINFO);
    const created = valid(() => parseCreated(parseJson(bytes)));
    if (!created.storePath.startsWith(`${(request as Named).params["hash"]}-`)) throw errors.badRequest("cStoreHash is not the path of this URL");
    const { entry } = await nars.get(grant, created.fileHash);
    if (!entry) throw errors.badRequest("its NAR is not here; send that first");
    return tell(request, grant, created, entry);
  });

  /** Makes the path known, as a narinfo that was put. */
  async function tell(request: FastifyRequest, grant: Writer, created: Created, entry: Entry): Promise<object> {
    const { compression = "none" } = contentOf(entry);
    const unsigned = narInfoOf(created, compression, []);
    const { signature } = created;
    const signatures = signature === undefined ? [] : [await keys.named(grant.cache, fingerprint(unsigned, options.storeDir), signature)];
    const result = await narInfos.put({ grant, info: { ...unsigned, signatures }, address: request.stow.address });
    request.stow.result = result === "stored" ? "stored" : "exists";
    return {};
  }
}

function signedPart(cache: string, upload: string, number: number, md5: string, actor: string) {
  return { op: "write", cache, id: `${upload}/${number}/${md5}`, actor } as const;
}

function nameOf(request: FastifyRequest): UploadName {
  const { params, query } = request as Named;
  return { narId: params["nar"] ?? "", uploadId: String(query["uploadId"] ?? "") };
}

function labels(op: string, keyspace: string) {
  return { config: { op, kind: "upload" as const, keyspace } };
}

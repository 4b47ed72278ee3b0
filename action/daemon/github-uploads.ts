import { randomUUID } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { decode, encode, formatOf, REQUESTS, RESPONSES, SERVICE, type CacheRequest, type CacheResponse, type Format, type Method } from "../../server/protocols/github-actions/wire.ts";
import type { Deferral } from "./deferral.ts";
import type { Incoming } from "./incoming.ts";
import { sendAnswer } from "./outgoing.ts";
import type { Call, Outcome } from "./relay.ts";
import { LOCAL, type Reservation, type Reservations } from "./reservations.ts";
import type { Spooled } from "./spool.ts";

const TWIRP = `/twirp/${SERVICE}/`;
const MAX_LIST = 8 * 1024 * 1024;

/**
 * Defers the uploads of the cache service v2. A key is reserved with the server, because it may be taken; what is put there
 * and its commit are answered at once.
 */
export class GithubUploads implements Deferral {
  readonly #reservations: Reservations;
  #entries = 0;

  constructor(reservations: Reservations) {
    this.#reservations = reservations;
  }

  async handle(call: Call, body: Incoming): Promise<Outcome | Call | undefined> {
    const { tool } = call;
    if (call.client.name !== "github-actions") return undefined;
    if (tool.path.startsWith(LOCAL)) return this.#reservations.download(call);
    if (tool.method === "PUT") return this.#put(call, body);
    if (body.kind !== "kept") return undefined;
    const format = formatOf(tool.type);
    if (!format) return undefined;
    if (tool.path === `${TWIRP}CreateCacheEntry`) return this.#reserve(call, parsed(REQUESTS.CreateCacheEntry, format, body.bytes));
    if (tool.path === `${TWIRP}FinalizeCacheEntryUpload`) return this.#commit(call, format, body.bytes);
    if (tool.path === `${TWIRP}GetCacheEntryDownloadURL`) return this.#lookup(call, format, parsed(REQUESTS.GetCacheEntryDownloadURL, format, body.bytes));
    return undefined;
  }

  /** Relayed; the URL in its answer says what to remember it by. */
  #reserve(call: Call, asked: CacheRequest<"CreateCacheEntry"> | undefined): Call | undefined {
    return asked && {
      ...call,
      via: (url, upstream) => {
        this.#reservations.add(new URL(url).pathname, asked, upstream);
        return call.via(url, upstream);
      },
    };
  }

  async #put(call: Call, body: Incoming): Promise<Outcome | undefined> {
    const { pathname, searchParams } = new URL(call.target.to, "http://daemon");
    const reservation = this.#reservations.get(pathname);
    if (!reservation) return undefined;
    // Blocks are sent in any order, what names them after them.
    const last = searchParams.get("comp") !== "block";
    if (!(await this.#reservations.put(reservation, call, body, { last, remember: (spooled) => remember(reservation, searchParams, spooled) }))) return undefined;
    const created = { "x-ms-request-id": randomUUID(), etag: `"${reservation.id}"`, "last-modified": new Date().toUTCString() };
    sendAnswer(call.response, { status: 201, type: "application/xml", body: "", headers: created });
    return "other";
  }

  async #commit(call: Call, format: Format, bytes: Buffer): Promise<Outcome | undefined> {
    const asked = parsed(REQUESTS.FinalizeCacheEntryUpload, format, bytes);
    const name = this.#reservations.nameOf(asked?.key, asked?.version);
    if (!asked || name === undefined) return undefined;
    const accepts = (said: Buffer) => parsed(RESPONSES.FinalizeCacheEntryUpload, format, said)?.ok === true;
    if (!(await this.#reservations.commit(name, call, bytes, asked.sizeBytes, accepts))) return undefined;
    answer(call, "FinalizeCacheEntryUpload", format, { ok: true, entryId: ++this.#entries });
    return "stored";
  }

  async #lookup(call: Call, format: Format, asked: CacheRequest<"GetCacheEntryDownloadURL"> | undefined): Promise<Outcome | undefined> {
    const exact = asked && (await this.#reservations.find([asked.key, ...asked.restoreKeys], asked.version));
    if (!exact) return undefined;
    answer(call, "GetCacheEntryDownloadURL", format, { ok: true, signedDownloadUrl: this.#reservations.url(call, exact), matchedKey: exact.key });
    return "hit";
  }
}

/** Takes note of a body that was put. False when the blob it makes can't be known here. */
async function remember(reservation: Reservation, query: URLSearchParams, spooled: Spooled): Promise<boolean> {
  const comp = query.get("comp");
  // A client that doesn't escape the plus signs of base64 means them all the same.
  if (comp === "block") return reservation.blocks.set((query.get("blockid") ?? "").replaceAll(" ", "+"), spooled).size > 0;
  if (comp === null) reservation.pieces = [spooled];
  else if (comp === "blocklist" && spooled.size <= MAX_LIST) {
    const xml = (await buffer(spooled.read())).toString("utf8");
    const listed = [...xml.matchAll(/<(?:Latest|Uncommitted)>\s*([^<\s]+)\s*</g)].map(([, id]) => reservation.blocks.get(id!));
    if (listed.includes(undefined) || xml.includes("<Committed>")) return false;
    reservation.pieces = listed as Spooled[];
  } else return false;
  return true;
}

/** Undefined for what is no such message: the server says so. */
function parsed<S extends Parameters<typeof decode>[0]>(shape: S, format: Format, bytes: Buffer): ReturnType<typeof decode<S>> | undefined {
  try {
    return decode(shape, format, bytes);
  } catch {
    return undefined;
  }
}

function answer<M extends Method>({ response }: Call, method: M, format: Format, message: Partial<CacheResponse<M>>): void {
  sendAnswer(response, { status: 200, type: format === "json" ? "application/json; charset=utf-8" : "application/protobuf", body: encode(RESPONSES[method], format, message as never) });
}

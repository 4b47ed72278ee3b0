import { randomUUID } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { decode, encode, formatOf, REQUESTS, RESPONSES, SERVICE, type CacheRequest, type CacheResponse, type Format, type Method } from "../../server/protocols/github-actions/wire.ts";
import { briefly, send, take, type Deferral, type Deferring } from "./deferral.ts";
import { forwarded, type Incoming } from "./incoming.ts";
import { sendAnswer } from "./outgoing.ts";
import { sendPieces } from "./pieces.ts";
import type { Call, Outcome } from "./relay.ts";
import type { Spooled } from "./spool.ts";
import type { Upstream } from "./upstream.ts";

const TWIRP = `/twirp/${SERVICE}/`;
const LOCAL = "/_blob/pending/";
/** How long what was delivered can still be read here, by who has just been told so, ms. */
const GRACE = 30_000;
const MAX_LIST = 8 * 1024 * 1024;
/** Reservations that are remembered; of older ones the uploads are relayed. */
const MAX_RESERVATIONS = 10_000;

/** A key this job has reserved, and what it put there so far. */
interface Reservation {
  readonly id: string;
  readonly key: string;
  readonly version: string;
  readonly upstream: Upstream;
  /** Bodies sent so far: blocks by id, or the whole blob. */
  readonly blocks: Map<string, Spooled>;
  readonly all: Spooled[];
  /** The blob as a reader will see it. */
  pieces: readonly Spooled[] | undefined;
  /** Whether something of it was relayed: then the server alone knows what it is. */
  relayed: boolean;
  delivered: Promise<boolean>;
}

/**
 * Defers the uploads of the cache service v2. A key is reserved with the server, because it may be taken; what is put there
 * and its commit are answered at once, delivered in order, and readable by this job in the meantime.
 */
export class GithubUploads implements Deferral {
  readonly #parts: Deferring;
  /** By path of the write URL. */
  readonly #reservations = new Map<string, Reservation>();
  /** Committed here: by id. */
  readonly #committed = new Map<string, Reservation>();
  #entries = 0;

  constructor(parts: Deferring) {
    this.#parts = parts;
  }

  async handle(call: Call, body: Incoming): Promise<Outcome | Call | undefined> {
    const { tool } = call;
    if (call.client.name !== "github-actions") return undefined;
    if (tool.path.startsWith(LOCAL)) return this.#download(call);
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
        const { key, version } = asked;
        this.#reservations.set(new URL(url).pathname, {
          id: randomUUID(), key, version, upstream, blocks: new Map(), all: [], pieces: undefined, relayed: false, delivered: Promise.resolve(true),
        });
        if (this.#reservations.size > MAX_RESERVATIONS) this.#reservations.delete(this.#reservations.keys().next().value!);
        return call.via(url, upstream);
      },
    };
  }

  async #put(call: Call, body: Incoming): Promise<Outcome | undefined> {
    const { request, response, target, row } = call;
    const url = new URL(target, "http://daemon");
    const reservation = this.#reservations.get(url.pathname);
    if (!reservation) return undefined;
    // What comes now must find at the server what came before.
    if (reservation.relayed) return void (await reservation.delivered);
    const spooled = await take(this.#parts.spool, body);
    reservation.relayed = !spooled || !(await remember(reservation, url.searchParams, spooled));
    if (!spooled) return void (await reservation.delivered);
    reservation.all.push(spooled);
    const { upstream, delivered } = reservation;
    const parcel = { method: "PUT", target: new URL(target, upstream.url), headers: forwarded(request), body: spooled };
    // Blocks are sent in any order, what names them after them.
    const sent = this.#parts.behind.add(spooled.size, (signal) => send(upstream, parcel, row, signal), url.searchParams.get("comp") === "block" ? undefined : delivered);
    reservation.delivered = Promise.all([delivered, sent]).then((all) => all.every(Boolean));
    const created = { "x-ms-request-id": randomUUID(), etag: `"${reservation.id}"`, "last-modified": new Date().toUTCString() };
    sendAnswer(response, { status: 201, type: "application/xml", body: "", headers: created });
    return "other";
  }

  async #commit(call: Call, format: Format, bytes: Buffer): Promise<Outcome | undefined> {
    const asked = parsed(REQUESTS.FinalizeCacheEntryUpload, format, bytes);
    const [path, reservation] = [...this.#reservations].findLast(([, { key, version }]) => key === asked?.key && version === asked.version) ?? [];
    if (!asked || !reservation || path === undefined) return undefined;
    this.#reservations.delete(path);
    const size = reservation.pieces?.reduce((sum, piece) => sum + piece.size, 0);
    if (reservation.relayed || size !== asked.sizeBytes) {
      // The server says what is wrong with it.
      await reservation.delivered;
      this.#release(reservation);
      return undefined;
    }
    const { request, target, row } = call;
    const parcel = { method: "POST", target, headers: forwarded(request), body: bytes };
    const accepts = (answer: Buffer) => parsed(RESPONSES.FinalizeCacheEntryUpload, format, answer)?.ok === true;
    reservation.delivered = this.#parts.behind.add(0, (signal) => send(reservation.upstream, parcel, row, signal, accepts), reservation.delivered);
    this.#committed.set(reservation.id, reservation);
    void reservation.delivered.then((well) => {
      if (!well) {
        row.stored--;
        row.failed++;
        console.log(`${new Date().toISOString()} an upload of ${size} bytes was not taken by ${reservation.upstream.url}`);
      }
      setTimeout(() => this.#release(reservation), well ? GRACE : 0).unref();
    });
    answer(call, "FinalizeCacheEntryUpload", format, { ok: true, entryId: ++this.#entries });
    return "stored";
  }

  async #lookup(call: Call, format: Format, asked: CacheRequest<"GetCacheEntryDownloadURL"> | undefined): Promise<Outcome | undefined> {
    if (!asked) return undefined;
    const own = [...this.#committed.values()].filter(({ version }) => version === asked.version);
    const exact = own.findLast(({ key }) => key === asked.key);
    if (exact) {
      // A query, because sccache refuses URLs without one.
      answer(call, "GetCacheEntryDownloadURL", format, { ok: true, signedDownloadUrl: call.own(`${LOCAL}${exact.id}?sig=own`), matchedKey: exact.key });
      return "hit";
    }
    // Which of several entries a prefix means is for the server to say, once it has them all.
    const prefixes = [asked.key, ...asked.restoreKeys];
    await Promise.all(own.filter(({ key }) => prefixes.some((prefix) => key.startsWith(prefix))).map(({ delivered }) => briefly(delivered)));
    return undefined;
  }

  async #download({ tool, response, request, row }: Call): Promise<Outcome | undefined> {
    const pieces = this.#committed.get(tool.path.slice(LOCAL.length))?.pieces;
    if (!pieces) return undefined;
    row.bytesIn += await sendPieces(request, response, pieces);
    return "other";
  }

  #release(reservation: Reservation): void {
    this.#committed.delete(reservation.id);
    for (const spooled of reservation.all.splice(0)) void spooled.drop();
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

import { randomUUID } from "node:crypto";
import { briefly, send, take, type Deferring } from "./deferral.ts";
import { forwarded, type Incoming } from "./incoming.ts";
import { sendPieces } from "./pieces.ts";
import { targetOf, type Call, type Outcome } from "./relay.ts";
import type { Spooled } from "./spool.ts";
import type { Upstream } from "./upstream.ts";

/** Where readers of this job are sent for what waits here. */
export const LOCAL = "/_blob/pending/";
/** How long what was delivered can still be read here, by who has just been told so, ms. */
const GRACE = 30_000;
/** Reservations that are remembered; of older ones the uploads are relayed. */
const MAX_RESERVATIONS = 10_000;

/** A key this job has reserved, and what it put there so far. */
export interface Reservation {
  readonly id: string;
  readonly key: string;
  readonly version: string;
  readonly upstream: Upstream;
  /** Bodies sent so far, by the names their protocol gives them. */
  readonly blocks: Map<string, Spooled>;
  readonly all: Spooled[];
  /** The whole as a reader will see it. */
  pieces: readonly Spooled[] | undefined;
  /** Whether something of it was relayed: then the server alone knows what it is. */
  relayed: boolean;
  delivered: Promise<boolean>;
}

export interface Put {
  /** Takes note of the body. False when the whole it makes can't be known here. */
  readonly remember: (spooled: Spooled) => boolean | Promise<boolean>;
  /** Whether it names bodies sent before it, which must be there when it comes. */
  readonly last: boolean;
}

/** What this job puts into GitHub's cache, in either version of its service: delivered in order, and readable here in the meantime. */
export class Reservations {
  readonly #parts: Deferring;
  readonly #open = new Map<string, Reservation>();
  /** Committed here: by id. */
  readonly #committed = new Map<string, Reservation>();

  constructor(parts: Deferring) {
    this.#parts = parts;
  }

  /** @param name by which its uploads name it */
  add(name: string, { key, version }: { readonly key: string; readonly version: string }, upstream: Upstream): void {
    this.#open.set(name, { id: randomUUID(), key, version, upstream, blocks: new Map(), all: [], pieces: undefined, relayed: false, delivered: Promise.resolve(true) });
    if (this.#open.size > MAX_RESERVATIONS) this.#open.delete(this.#open.keys().next().value!);
  }

  get(name: string): Reservation | undefined {
    return this.#open.get(name);
  }

  /** Name of the latest for a key. */
  nameOf(key: string | undefined, version: string | undefined): string | undefined {
    return [...this.#open].findLast(([, one]) => one.key === key && one.version === version)?.[0];
  }

  /** Takes a body, to be sent to where its request goes. False: it must be relayed, and what came before it is there now. */
  async put(reservation: Reservation, call: Call, body: Incoming, { remember, last }: Put): Promise<boolean> {
    const { spool, behind } = this.#parts;
    const spooled = reservation.relayed ? undefined : await take(spool, body);
    if (!spooled || !(await remember(spooled))) reservation.relayed = true;
    if (!spooled) {
      await reservation.delivered;
      return false;
    }
    reservation.all.push(spooled);
    const { upstream, delivered } = reservation;
    const parcel = { method: call.tool.method, target: targetOf(call.target, upstream), headers: forwarded(call.request), body: spooled };
    const sent = behind.add(spooled.size, (signal) => send(upstream, parcel, call.row, signal), last ? delivered : undefined);
    reservation.delivered = Promise.all([delivered, sent]).then((all) => all.every(Boolean));
    return true;
  }

  /**
   * Commits what a reservation holds once it is delivered. False when it must be relayed, because the server has to say what
   * is wrong with it. @param accepts whether the server's answer says that it did
   */
  async commit(name: string, call: Call, body: Buffer, size: number, accepts?: (answer: Buffer) => boolean): Promise<boolean> {
    const reservation = this.#open.get(name)!;
    this.#open.delete(name);
    const { upstream, pieces, relayed, delivered } = reservation;
    if (relayed || pieces?.reduce((sum, piece) => sum + piece.size, 0) !== size) {
      await delivered;
      this.#release(reservation);
      return false;
    }
    const { request, target, row } = call;
    const parcel = { method: "POST", target: targetOf(target, upstream), headers: forwarded(request), body };
    reservation.delivered = this.#parts.behind.add(0, (signal) => send(upstream, parcel, row, signal, accepts), delivered);
    this.#committed.set(reservation.id, reservation);
    void reservation.delivered.then((well) => {
      if (!well) {
        row.stored--;
        row.failed++;
        console.log(`${new Date().toISOString()} an upload of ${size} bytes was not taken by ${upstream.url}`);
      }
      setTimeout(() => this.#release(reservation), well ? GRACE : 0).unref();
    });
    return true;
  }

  /** What is committed here under the first of these keys; where one of them may only be a prefix, waits a while for it to be delivered. */
  async find(keys: readonly string[], version: string): Promise<Reservation | undefined> {
    const own = [...this.#committed.values()].filter((one) => one.version === version);
    const exact = own.findLast(({ key }) => key === keys[0]);
    // Which of several entries a prefix means is for the server to say, once it has them all.
    if (!exact) await Promise.all(own.filter(({ key }) => keys.some((prefix) => key.startsWith(prefix))).map(({ delivered }) => briefly(delivered)));
    return exact;
  }

  /** A URL of what waits here. A query, because sccache refuses URLs without one. */
  url({ own }: Call, { id }: Reservation): string {
    return own(`${LOCAL}${id}?sig=own`);
  }

  async download({ tool, response, request, row }: Call): Promise<Outcome | undefined> {
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

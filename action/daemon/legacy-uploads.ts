import type { Deferral } from "./deferral.ts";
import type { Incoming } from "./incoming.ts";
import { sendAnswer } from "./outgoing.ts";
import type { Call, Outcome } from "./relay.ts";
import type { Reservation, Reservations } from "./reservations.ts";
import type { Spooled } from "./spool.ts";

const BASE = "/_apis/artifactcache/cache";

/** Defers the uploads of the cache service v1, whose chunks say where they lie. */
export class LegacyUploads implements Deferral {
  readonly #reservations: Reservations;

  constructor(reservations: Reservations) {
    this.#reservations = reservations;
  }

  async handle(call: Call, body: Incoming): Promise<Outcome | Call | undefined> {
    const { tool, target } = call;
    if (!tool.path.startsWith(BASE)) return undefined;
    if (tool.path === BASE) return tool.method === "GET" ? this.#lookup(call, new URL(target.to, "http://daemon").searchParams) : undefined;
    if (tool.method === "PATCH") return this.#chunk(call, body);
    if (tool.method !== "POST" || body.kind !== "kept") return undefined;
    return tool.path === `${BASE}s` ? this.#reserve(call, body.bytes) : this.#commit(call, body.bytes);
  }

  /** Relayed; the number in its answer says what to remember it by. */
  #reserve(call: Call, bytes: Buffer): Call | undefined {
    const { key, version } = parsed(bytes);
    if (typeof key !== "string" || typeof version !== "string") return undefined;
    return {
      ...call,
      mark: (handle, upstream) => {
        const marked = call.mark(handle, upstream);
        this.#reservations.add(`${BASE}s/${marked}`, { key, version }, upstream);
        return marked;
      },
    };
  }

  async #chunk(call: Call, body: Incoming): Promise<Outcome | undefined> {
    const reservation = this.#reservations.get(call.tool.path);
    const start = /^bytes (\d{1,15})-\d{1,15}\//.exec(call.request.headers["content-range"] ?? "")?.[1];
    if (!reservation || start === undefined) return undefined;
    const remember = (spooled: Spooled) => reservation.blocks.set(String(Number(start)), spooled).size > 0;
    if (!(await this.#reservations.put(reservation, call, body, { last: false, remember }))) return undefined;
    done(call);
    return "other";
  }

  async #commit(call: Call, bytes: Buffer): Promise<Outcome | undefined> {
    const { path } = call.tool;
    const reservation = this.#reservations.get(path);
    if (!reservation) return undefined;
    reservation.pieces = inOrder(reservation);
    if (!(await this.#reservations.commit(path, call, bytes, Number(parsed(bytes)["size"])))) return undefined;
    done(call);
    return "stored";
  }

  async #lookup(call: Call, query: URLSearchParams): Promise<Outcome | undefined> {
    const exact = await this.#reservations.find((query.get("keys") ?? "").split(","), query.get("version") ?? "");
    if (!exact) return undefined;
    const found = { cacheKey: exact.key, scope: "", creationTime: new Date().toISOString(), archiveLocation: this.#reservations.url(call, exact) };
    sendAnswer(call.response, { status: 200, type: "application/json; charset=utf-8", body: JSON.stringify(found) });
    return "hit";
  }
}

/** The chunks one after the other; undefined when something is missing or was sent twice, which the server shall say. */
function inOrder({ blocks, all }: Reservation): Spooled[] | undefined {
  const chunks = [...blocks].map(([start, spooled]) => ({ start: Number(start), spooled })).toSorted((a, b) => a.start - b.start);
  let end = 0;
  const whole = chunks.every(({ start, spooled }) => {
    const fits = start === end;
    end += spooled.size;
    return fits;
  });
  return whole && chunks.length === all.length ? chunks.map(({ spooled }) => spooled) : undefined;
}

/** An empty object for what is none: the server says so. */
function parsed(bytes: Buffer): Record<string, unknown> {
  try {
    return (JSON.parse(bytes.toString("utf8")) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function done({ response }: Call): void {
  sendAnswer(response, { status: 204, type: "application/json", body: "" });
}

import { errors, isDiskFull, StowError } from "../../../core/errors.ts";
import { UpstreamFailure } from "./failure.ts";
import type { Leisure } from "./leisure.ts";
import type { AskResult, UpstreamMetrics } from "./metrics.ts";
import { receive, type Place } from "./receive.ts";
import type { SpoolSpace } from "./spool.ts";
import { Spoiled, Transfer, type Expected } from "./transfer.ts";

/** How long a NAR that nobody waits for any more may go on, where such ones are cancelled: clients come back for the rest, ms. */
const FAREWELL_MS = 2_000;
/** Longest time of one NAR, ms. */
const LONGEST_MS = 6 * 3_600_000;

export interface Wanted {
  readonly expected: Expected;
  /** Where it may be, the best place first, and why it can't be said of others; asked for more only when those before were of no use. */
  places(signal: AbortSignal): AsyncIterable<Place | UpstreamFailure>;
  /** Stores the verified body. */
  keep(transfer: Transfer): Promise<void>;
}

export type Reader = ReturnType<Transfer["join"]> & {
  /** Bytes of the whole, where anybody has said it. */
  readonly size: number | undefined;
};

export interface DownloadsOptions {
  readonly cache: string;
  readonly space: SpoolSpace;
  readonly leisure: Leisure;
  readonly abandoned: "finish" | "cancel";
  readonly metrics: UpstreamMetrics;
  readonly onError: (error: unknown) => void;
}

interface Running {
  readonly transfer: Transfer;
  /** Resolves when the first upstream has begun to answer. */
  readonly begun: Promise<void>;
  readonly done: Promise<void>;
  readonly stop: AbortController;
}

/** The NARs of a cache that are arriving: one transfer each, however many want it. */
export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #running = new Map<string, Promise<Running>>();
  /** Where a NAR was spoiled lately: those places come last. */
  readonly #spoiled = new Set<string>();
  #closed = false;

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  get arriving(): number {
    return this.#running.size;
  }

  /**
   * Reads a NAR that is arriving, or begins to fetch it. Resolves when an upstream has begun to answer; the reader must leave.
   * @throws notFound (no upstream has it, for certain), upstreamUnavailable, upstreamTimeout, upstreamBusy, tooLarge, diskFull
   */
  async join(name: string, wanted: () => Wanted): Promise<Reader> {
    if (this.#closed) throw errors.draining();
    let starting = this.#running.get(name);
    if (starting) this.#options.metrics.joined(this.#options.cache);
    else {
      starting = this.#start(name, wanted());
      this.#running.set(name, starting);
      starting.catch(() => this.#running.delete(name));
    }
    const { transfer, begun } = await starting;
    if (transfer.closed) return this.join(name, wanted);
    const reader = transfer.join();
    try {
      await begun;
      return { ...reader, size: transfer.size };
    } catch (error) {
      reader.leave();
      throw error;
    }
  }

  /** Breaks off everything. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const starting of this.#running.values()) {
      const running = await starting.catch(() => undefined);
      running?.stop.abort(errors.draining());
      await running?.done;
    }
  }

  async #start(name: string, wanted: Wanted): Promise<Running> {
    const transfer = await Transfer.open(this.#options.space, wanted.expected).catch((error: unknown) => Promise.reject(storageFailure(error)));
    const stop = new AbortController();
    const begun = Promise.withResolvers<void>();
    // Whoever waits for it has its own handler.
    begun.promise.catch(() => {});
    const { metrics, cache } = this.#options;
    this.#watch(transfer, stop);
    const done = this.#run(wanted, transfer, stop.signal, begun.resolve)
      .catch((thrown: unknown) => {
        const error = storageFailure(stop.signal.aborted ? stop.signal.reason : thrown);
        metrics.nar(cache, stop.signal.aborted ? "cancelled" : error.refusal === "notFound" ? "missing" : thrown instanceof Spoiled ? "spoiled" : "failed");
        begun.reject(error);
        transfer.fail(error);
      })
      .finally(() => {
        this.#running.delete(name);
        transfer.release();
      });
    return { transfer, begun: begun.promise, done, stop };
  }

  #watch(transfer: Transfer, stop: AbortController): void {
    const latest = setTimeout(() => stop.abort(errors.upstreamTimeout("it took too long")), LONGEST_MS).unref();
    stop.signal.addEventListener("abort", () => clearTimeout(latest));
    transfer.onVerified = () => clearTimeout(latest);
    if (this.#options.abandoned === "finish") return;
    let farewell: NodeJS.Timeout | undefined;
    transfer.onAbandoned = () => {
      farewell = setTimeout(() => stop.abort(errors.clientGone()), FAREWELL_MS).unref();
    };
    transfer.onJoined = () => clearTimeout(farewell);
  }

  async #run(wanted: Wanted, transfer: Transfer, signal: AbortSignal, begun: () => void): Promise<void> {
    const { cache, leisure, metrics, onError } = this.#options;
    const ended = leisure.arrives();
    metrics.arriving(1);
    try {
      await this.#fetch(wanted, transfer, signal, begun);
    } finally {
      metrics.arriving(-1);
      ended();
    }
    begun();
    try {
      await leisure.work(signal, () => wanted.keep(transfer));
      metrics.nar(cache, "kept");
    } catch (error) {
      // Whoever reads it has it all the same: a full disk is no reason to fail a build.
      metrics.nar(cache, "unkept");
      if (!signal.aborted) onError(error);
    }
  }

  /** @throws Spoiled, StowError */
  async #fetch(wanted: Wanted, transfer: Transfer, signal: AbortSignal, begun: () => void): Promise<void> {
    const failures: unknown[] = [];
    const places: Place[] = [];
    let spoiled: Place | undefined;
    for await (const place of this.#ordered(wanted.places(signal))) {
      if (signal.aborted) throw signal.reason;
      if (place instanceof UpstreamFailure) {
        failures.push(place);
        continue;
      }
      places.push(place);
      try {
        if (await this.#receive(place, transfer, signal, begun)) return;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof Spoiled) {
          this.#remember(place);
          // Somebody has some of it: the rest of a good one would not mend that.
          if (transfer.served) throw error;
          await transfer.restart();
          spoiled ??= place;
        } else if (!(error instanceof UpstreamFailure)) throw error;
        failures.push(error);
      }
    }
    // What was spoiled on the way only is whole the second time.
    if (spoiled && (await this.#receive(spoiled, transfer, signal, begun))) return;
    if (failures.length === 0) throw errors.notFound();
    const silent = failures.every((failure) => failure instanceof UpstreamFailure && failure.kind === "timeout");
    const retryAfter = Math.max(5, ...places.filter(({ upstream }) => upstream.breaker.open).map(({ upstream }) => upstream.breaker.retryAfter));
    const options = { cause: failures[0], retryAfter };
    throw silent ? errors.upstreamTimeout("the NAR did not come", options) : errors.upstreamUnavailable("the NAR did not come", options);
  }

  async #receive(place: Place, transfer: Transfer, signal: AbortSignal, begun: () => void): Promise<boolean> {
    const { metrics, cache } = this.#options;
    const { name, breaker } = place.upstream;
    const started = performance.now();
    let counted = false;
    let received = 0;
    const count = (result: AskResult) => {
      if (!counted) metrics.asked(cache, name, "nar", result, result === "skipped" ? undefined : performance.now() - started);
      counted = true;
    };
    const hooks = {
      onHead: () => {
        count("hit");
        begun();
      },
      onBytes: (bytes: number) => void (received += bytes),
    };
    try {
      const complete = await receive(place, transfer, signal, hooks);
      if (!complete) count("miss");
      return complete;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(error.kind === "open" ? "skipped" : error.kind === "timeout" ? "timeout" : "error");
      throw error;
    } finally {
      metrics.received(cache, name, received);
      metrics.open(cache, name, breaker.open);
    }
  }

  async *#ordered(places: ReturnType<Wanted["places"]>): AsyncGenerator<Place | UpstreamFailure> {
    const last: Place[] = [];
    for await (const place of places) {
      if (!(place instanceof UpstreamFailure) && this.#spoiled.has(placeName(place))) last.push(place);
      else yield place;
    }
    yield* last;
  }

  #remember(place: Place): void {
    if (this.#spoiled.size >= MOST_SPOILED) this.#spoiled.delete(this.#spoiled.values().next().value!);
    this.#spoiled.add(placeName(place));
  }
}

const MOST_SPOILED = 10_000;

function placeName({ upstream, url }: Place): string {
  return `${upstream.name} ${url}`;
}

/** What readers get for a transfer that failed. */
function storageFailure(error: unknown): StowError {
  if (error instanceof StowError) return error;
  if (error instanceof Spoiled) return errors.upstreamUnavailable("what came is not what was announced", { cause: error, retryAfter: 1 });
  return isDiskFull(error) ? errors.diskFull("", { cause: error }) : errors.readFailure("", { cause: error });
}

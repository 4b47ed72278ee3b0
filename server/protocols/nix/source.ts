import type { FastifyReply, FastifyRequest } from "fastify";
import { errors, StowError } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { after, type MaybePromise } from "../../database/database.ts";
import type { Document } from "./document.ts";
import type { RealisationId } from "./realisation.ts";

/** Who asks. */
export interface Asker {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly grant: Grant;
}

/** Sends what was found. @throws notFound when it turns out to be gone, as long as nothing was sent */
export type Found = () => MaybePromise<FastifyReply>;

/**
 * Where everything comes from: the own cache first, then whatever is asked for it. Undefined says that it has none, for
 * certain; who can't tell throws, because clients remember a 404 for an hour.
 */
export interface Source {
  narInfo(asker: Asker, storeHash: string): MaybePromise<Found | undefined>;
  /** @param fileHash SHA-256 of the NAR's file, hex */
  nar(asker: Asker, fileHash: string): MaybePromise<Found | undefined>;
  realisation(asker: Asker, id: RealisationId): MaybePromise<Found | undefined>;
  /** @param key of the document's keyspace */
  document(asker: Asker, document: Document, key: string): MaybePromise<Found | undefined>;
}

/** Sends what the first source has. Undefined: none has it, for certain. @throws what the first one throws that could not tell */
export function fromFirst(sources: readonly Source[], ask: (source: Source) => MaybePromise<Found | undefined>): MaybePromise<FastifyReply | undefined> {
  const [own, ...others] = sources;
  // The own cache answers at once when RAM knows, and then without a promise.
  const found = attempt(() => ask(own!));
  if (typeof found !== "function") return settle(found, others, ask);
  const sent = attempt(found);
  return sent instanceof Promise ? settle(Promise.resolve(() => sent), others, ask) : sent;
}

/** @throws notFound where nobody had it */
export function orMissing(sent: MaybePromise<FastifyReply | undefined>): MaybePromise<FastifyReply> {
  return after(sent, (reply) => {
    if (!reply) throw errors.notFound();
    return reply;
  });
}

async function settle(first: MaybePromise<Found | undefined>, others: readonly Source[], ask: (source: Source) => MaybePromise<Found | undefined>): Promise<FastifyReply | undefined> {
  let doubt: unknown;
  for (const look of [() => first, ...others.map((source) => () => ask(source))]) {
    try {
      const found = await look();
      if (found) return await found();
    } catch (error) {
      const refusal = error instanceof StowError ? error.refusal : "readFailure";
      if (refusal === "readFailure") doubt ??= error;
      else if (refusal !== "notFound") throw error;
    }
  }
  if (doubt !== undefined) throw doubt;
  return undefined;
}

/** The same, with what is thrown at once as a promise, too. */
function attempt<T>(work: () => MaybePromise<T>): MaybePromise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

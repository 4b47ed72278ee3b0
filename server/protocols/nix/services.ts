import type { FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import { NarInfos } from "./narinfos.ts";
import { NeighbourSource } from "./neighbours.ts";
import { Nars } from "./nars.ts";
import type { NixOptions } from "./options.ts";
import { OwnSource } from "./own-source.ts";
import { parseHashId, parseTraceId, type RealisationId } from "./realisation.ts";
import { Pins } from "./pins.ts";
import { Realisations } from "./realisations.ts";
import { Signing } from "./signing.ts";
import type { Source } from "./source.ts";
import { UpstreamSource } from "./upstream/source.ts";

/** What all mounts share. */
export interface Services {
  readonly nars: Nars;
  readonly narInfos: NarInfos;
  readonly realisations: Realisations;
  readonly signing: Signing;
  /** Asked in this order. */
  readonly sources: readonly Source[];
  readonly upstream: UpstreamSource;
  readonly pins: Pins;
}

/** @throws config */
export function openServices(context: ProtocolContext<NixOptions>): Services {
  const { core, options } = context;
  const nars = new Nars(core);
  const signing = new Signing(core.database, options);
  const narInfos = new NarInfos({ core, options, nars, signing });
  const realisations = new Realisations({ core, options, signing });
  const own = new OwnSource(context, { narInfos, nars, realisations });
  const neighbours = new NeighbourSource({ caches: core.caches, catalog: core.catalog, options, narInfos, realisations, signing, own });
  const caches = Object.fromEntries(Object.entries(options.caches).map(([name, { upstreams }]) => [name, upstreams]));
  const upstream = new UpstreamSource({ context, storeDir: options.storeDir, settings: options.proxy, caches, nars, realisations, signing, own });
  const pins = new Pins({ core, storeDir: options.storeDir, nars, narInfos, upstream });
  return { nars, narInfos, realisations, signing, sources: [own, neighbours, upstream], upstream, pins };
}

/** Of either form of path. @throws notFound */
export function realisationIdOf(request: FastifyRequest): RealisationId {
  const { id, drv, output } = request.params as { id?: string; drv?: string; output?: string };
  const parsed = id === undefined ? parseTraceId(drv!, output!) : parseHashId(id);
  if (!parsed) throw errors.notFound();
  return parsed;
}

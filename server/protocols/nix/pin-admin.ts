import type { FastifyInstance, FastifyRequest } from "fastify";
import Type, { type Static } from "typebox";
import { isScope, type Scope } from "../../core/scope.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { ProtocolContext } from "../protocol.ts";
import { valid } from "../valid.ts";
import { WireError } from "../wire.ts";
import { administered } from "./admin.ts";
import { parseJson } from "./json.ts";
import type { NixOptions } from "./options.ts";
import { checkPin, parseKeep, type PinRequest } from "./pin-wire.ts";
import type { Pin } from "./pins.ts";
import type { Services } from "./services.ts";

const MAX_BODY = 256 * 1024;

const Where = {
  cache: Type.Optional(Type.String({ default: "default", description: "Name of the cache." })),
  scope: Type.Optional(Type.String({ description: "Scope of the pins; default: the cache's default scope, to list: all." })),
};
const Keep = Type.Object({
  days: Type.Optional(Type.Integer({ description: "Each revision stays for so long." })),
  revisions: Type.Optional(Type.Integer({ description: "So many of the latest stay." })),
  forever: Type.Optional(Type.Boolean({ description: "All of them stay." })),
});
const PinAnswer = Type.Object({
  cache: Type.String(),
  scope: Type.String(),
  name: Type.String(),
  revision: Type.Integer(),
  storePath: Type.String(),
  artifacts: Type.Array(Type.String()),
  keep: Keep,
  created: Type.String({ format: "date-time" }),
  expires: Type.Unsafe<string | null>({ type: "string", nullable: true }),
  paths: Type.Integer({ description: "Paths of its closure that were here when it was made." }),
  bytes: Type.Integer({ description: "Of their NARs' files." }),
  missing: Type.Integer({ description: "Paths of its closure that were not." }),
});
const Made = Type.Object({ pin: PinAnswer, missing: Type.Array(Type.String(), { description: "Paths of its closure that are not here, or whose NARs are not; the first hundred." }) });

export type PinView = Static<typeof PinAnswer>;
export type MadePinView = Static<typeof Made>;

/** `/v1/admin/nix/pins`: for administrators, in any scope. */
export function registerPinAdmin(app: FastifyInstance, context: ProtocolContext<NixOptions>, { pins }: Services): void {
  const { core, options, receive } = context;
  const path = "/v1/admin/nix/pins";

  app.get<{ Querystring: { cache?: string; scope?: string } }>(
    path,
    administered(context, "pins.list", { summary: "Lists pins of Nix closures", querystring: Type.Object(Where, { additionalProperties: false }), response: { 200: Type.Object({ pins: Type.Array(PinAnswer) }) } }),
    async (request) => {
      const { cache = "default", scope } = request.query;
      core.caches.require(cache);
      const found = await pins.list({ cache }, scope === undefined ? undefined : [scope]);
      return { pins: found.map((pin) => answerOf(cache, pin)) };
    },
  );

  app.post(
    path,
    administered(context, "pins.add", {
      summary: "Pins the closure of a store path: {cache?, scope?, name, storePath, artifacts?, keep?: {days} | {revisions} | {forever: true}}",
      response: { 200: Made },
    }),
    async (request) => {
      const bytes = await receive.buffer(request, MAX_BODY);
      const { cache, scope, ...wanted } = valid(() => requestOf(parseJson(bytes)));
      const grant = writer(request, cache, scope);
      const { pin, closure } = await pins.add(grant, wanted, request.stow.address);
      return { pin: answerOf(cache, pin), missing: closure.missing };
    },
  );

  app.delete<{ Querystring: { cache?: string; scope?: string; name: string; revision?: number } }>(
    path,
    administered(context, "pins.remove", {
      summary: "Unpins: what nothing else keeps may go again",
      querystring: Type.Object({ ...Where, name: Type.String({ minLength: 1, maxLength: 800 }), revision: Type.Optional(Type.Integer({ minimum: 1, description: "Only this one." })) }, { additionalProperties: false }),
      response: { 200: Type.Object({ revisions: Type.Integer({ description: "How many went." }) }) },
    }),
    async (request) => {
      const { cache = "default", scope, name, revision } = request.query;
      const revisions = await pins.remove(writer(request, cache, scope), name, revision, request.stow.address);
      if (revisions === 0) throw errors.notFound();
      return { revisions };
    },
  );

  function requestOf(value: unknown): PinRequest & { cache: string; scope?: string } {
    const { cache = "default", scope, name, storePath, artifacts = [], keep } = (value ?? {}) as Record<string, unknown>;
    if (typeof cache !== "string" || (scope !== undefined && typeof scope !== "string")) throw new WireError("cache and scope are texts");
    return { cache, ...(scope === undefined ? {} : { scope }), ...checkPin({ name, storePath, artifacts, keep: parseKeep(keep) }, options.storeDir) };
  }

  /** @throws noCache, badRequest */
  function writer(request: FastifyRequest, cache: string, named: string | undefined): Grant & { readonly write: Scope } {
    const { defaultScope } = core.caches.require(cache);
    const scope = named ?? defaultScope;
    if (!isScope(scope)) throw errors.badRequest(`${scope} is no scope`);
    return { cache, read: [...new Set([scope, defaultScope])], write: scope, trusted: true, admin: true, actor: request.stow.actor };
  }

  function answerOf(cache: string, { keep, storePath, artifacts, created, expires, ...pin }: Pin): PinView {
    return {
      cache, ...pin, artifacts: [...artifacts], storePath: `${options.storeDir}/${storePath}`,
      keep: keep === "forever" ? { forever: true } : keep,
      created: new Date(created).toISOString(), expires: expires === null ? null : new Date(expires).toISOString(),
    };
  }
}

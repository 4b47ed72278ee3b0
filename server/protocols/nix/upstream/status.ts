import type { FastifyInstance } from "fastify";
import Type from "typebox";
import type { ProtocolContext } from "../../protocol.ts";
import { administered } from "../admin.ts";
import type { UpstreamSource } from "./source.ts";

const Status = Type.Object({
  caches: Type.Array(
    Type.Object({
      cache: Type.String(),
      arriving: Type.Integer({ description: "NARs that are being fetched." }),
      upstreams: Type.Array(
        Type.Object({
          name: Type.String(),
          url: Type.String(),
          priority: Type.Integer(),
          open: Type.Boolean({ description: "It failed too often, and is left alone." }),
          retryAfter: Type.Optional(Type.Integer({ description: "Seconds until it is tried again." })),
        }),
        { description: "In the order in which they are asked." },
      ),
    }),
  ),
});

/** For administrators of the whole server: which upstreams there are, and which are left alone for now. */
export function registerUpstreamStatus(app: FastifyInstance, context: Pick<ProtocolContext, "auth" | "log">, source: UpstreamSource): void {
  app.get(
    "/v1/admin/nix/upstreams",
    administered(context, "upstreams", { summary: "Upstreams of Nix caches on this process", response: { 200: Status } }),
    async () => {
      const caches = [...source.proxies].map(([cache, proxy]) => ({
        cache,
        arriving: proxy.arriving,
        upstreams: proxy.upstreams.map(({ name, settings, breaker }) => ({
          name, url: settings.url, priority: settings.priority, open: breaker.open, ...(breaker.open && { retryAfter: breaker.retryAfter }),
        })),
      }));
      return { caches };
    },
  );
}

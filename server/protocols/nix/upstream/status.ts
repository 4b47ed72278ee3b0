import type { FastifyInstance } from "fastify";
import { errors } from "../../../core/errors.ts";
import type { Auth } from "../../../http/auth.ts";
import type { UpstreamSource } from "./source.ts";

/** For administrators of the whole server: which upstreams there are, and which are left alone for now. */
export function registerUpstreamStatus(app: FastifyInstance, auth: Auth, source: UpstreamSource): void {
  app.get("/v1/admin/nix/upstreams", { config: { op: "upstreams", kind: "other" } }, (request, reply) => {
    if (!auth.admin(request).caches.includes("*")) throw errors.forbiddenAdmin();
    const caches = [...source.proxies].map(([cache, proxy]) => ({
      cache,
      arriving: proxy.arriving,
      upstreams: proxy.upstreams.map(({ name, settings, breaker }) => ({
        name, url: settings.url, priority: settings.priority, open: breaker.open, ...(breaker.open && { retryAfter: breaker.retryAfter }),
      })),
    }));
    return reply.type("application/json; charset=utf-8").send(JSON.stringify({ caches }));
  });
}

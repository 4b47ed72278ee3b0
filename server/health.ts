import type { FastifyInstance } from "fastify";
import type { Core } from "./core/core.ts";
import type { Auth } from "./http/auth.ts";
import type { Metrics } from "./metrics.ts";

const JSON_TYPE = "application/json; charset=utf-8";

/** Whether the server wants requests; false from the moment it was told to stop. */
export interface Readiness {
  draining: boolean;
}

/** `/livez`, `/healthz` (ncps's name): the process works. `/readyz`: it wants requests and its database answers. `/metrics`: for Prometheus. */
export function registerHealth(app: FastifyInstance, parts: { core: Core; metrics: Metrics; auth: Auth; readiness: Readiness; metricsAccess: "open" | "admin" | "elsewhere" }): void {
  const { core, metrics, auth, readiness, metricsAccess } = parts;
  for (const path of ["/livez", "/healthz"]) {
    app.get(path, { config: { op: "livez", auth: "none" }, schema: { summary: "The process is alive" } }, async (_, reply) => reply.type(JSON_TYPE).send({ status: "ok" }));
  }

  app.get("/readyz", { config: { op: "readyz", auth: "none" }, schema: { summary: "The server wants requests" } }, async (_, reply) => {
    const database = await core.database.ping().then(() => "ok", () => "unavailable");
    const ready = !readiness.draining && database === "ok";
    return reply.code(ready ? 200 : 503).type(JSON_TYPE).send({ status: readiness.draining ? "draining" : ready ? "ok" : "not ready", database });
  });

  if (metricsAccess === "elsewhere") return;
  app.get("/metrics", { config: { op: "metrics", auth: metricsAccess === "admin" ? "key" : "none" }, schema: { summary: "Metrics for Prometheus" } }, async (request, reply) => {
    if (metricsAccess === "admin") auth.admin(request);
    return reply.type(metrics.registry.contentType).send(await metrics.text());
  });
}

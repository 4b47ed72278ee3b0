import type { FastifyInstance } from "fastify";
import { compileSchema } from "../http/compile-schema.ts";
import type { RouteConfig } from "../http/context.ts";
import { registerAudit } from "./audit.ts";
import { registerCaches } from "./cache-routes.ts";
import { administrator, type AdminContext } from "./context.ts";
import { registerEntries } from "./entries.ts";
import { registerKeys, registerRevocations } from "./keys.ts";
import { registerMaintenance } from "./maintenance.ts";
import { registerDocument } from "./openapi.ts";
import { registerStats } from "./stats.ts";

export { loadCaches, type CacheDeclarations, type ManagedCaches } from "./caches.ts";
export type { AdminContext } from "./context.ts";
export { registerOpenApi } from "./openapi.ts";

const PARTS = [registerKeys, registerRevocations, registerCaches, registerEntries, registerStats, registerMaintenance, registerAudit];

/** `/v1/admin/…`. Nothing of a request but its head is read before its credential is known to be an administrator's. */
export async function registerAdmin(app: FastifyInstance, context: AdminContext): Promise<void> {
  await app.register(
    async (admin) => {
      admin.setValidatorCompiler(compileSchema as never);
      admin.addHook("onRequest", (request, _reply, done) => {
        try {
          if ((request.routeOptions.config as RouteConfig).auth !== "none") administrator(context.auth, request);
          done();
        } catch (error) {
          done(error as Error);
        }
      });
      admin.addHook("preClose", () => context.caches.close());
      for (const register of PARTS) register(admin, context);
      registerDocument(admin);
    },
    { prefix: "/v1/admin" },
  );
}

import type { FastifyRequest } from "fastify";
import { isCacheName } from "../../core/scope.ts";
import type { Protocol } from "../protocol.ts";
import { registerCachix } from "./cachix/routes.ts";
import { registerDeploy } from "./deploy/routes.ts";
import { registerDocuments } from "./documents.ts";
import { DEBUGINFO, LISTINGS, LOGS, NARINFOS, NARS, PUSHES, REALISATIONS } from "./keyspaces.ts";
import { options, type NixOptions } from "./options.ts";
import { registerNixFsck } from "./fsck-admin.ts";
import { registerPinAdmin } from "./pin-admin.ts";
import { registerPins } from "./pin-routes.ts";
import { PINS } from "./pins.ts";
import { refusals } from "./refusals.ts";
import { registerReads } from "./routes.ts";
import { openPorts } from "./ports.ts";
import { openServices } from "./services.ts";
import { ORIGINS, PULLED } from "./upstream/pulled.ts";
import { registerUpstreamStatus } from "./upstream/status.ts";
import { registerUploads } from "./uploads.ts";
import { MOUNTS, UPLOAD } from "./wire.ts";

/** Binary caches of Nix (README.md): at the root, under /nix and /nix/{cache}, and on hosts of their own. */
export const nix = {
  name: "nix",
  options,
  keyspaces: [NARS, NARINFOS, REALISATIONS, LISTINGS, LOGS, DEBUGINFO, PUSHES, PULLED, ORIGINS, PINS],
  refusals,
  plugin(app, context) {
    const services = openServices(context);
    app.addHook("onClose", () => services.upstream.close());
    registerUpstreamStatus(app, context, services.upstream);
    registerPins(app, context, services);
    registerPinAdmin(app, context, services);
    registerNixFsck(app, context);
    registerDeploy(app, context, services);
    const domain = context.options.domain?.toLowerCase();
    // After the server's own hooks, which have verified the credential.
    app.addHook("onRequest", (request, _reply, done) => {
      const named = (request.params as { cache?: string }).cache ?? (domain && cacheOfHost(request, domain));
      if (named !== undefined && named !== "") context.auth.choose(request, named);
      done();
    });
    for (const mount of MOUNTS) {
      registerReads(app, mount, context, services);
      registerUploads(app, mount, context, services);
      registerDocuments(app, mount, context, services);
    }
    // What is pushed there is pushed whole, whatever sources and upstreams have.
    const alone = { ...services, sources: services.sources.slice(0, 1) };
    registerReads(app, UPLOAD, context, alone);
    registerUploads(app, UPLOAD, context, alone);
    registerDocuments(app, UPLOAD, context, alone);
    registerCachix(app, context, services);
    openPorts(context);
  },
} satisfies Protocol<NixOptions>;

/** `team` of https://team.example.com, unless the path names a cache. */
function cacheOfHost(request: FastifyRequest, domain: string): string | undefined {
  const host = request.hostname.toLowerCase();
  const name = host.endsWith(`.${domain}`) ? host.slice(0, -domain.length - 1) : "";
  return request.stow.cacheName === undefined && isCacheName(name) ? name : undefined;
}

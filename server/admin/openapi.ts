import swagger from "@fastify/swagger";
import type { FastifyInstance, FastifySchema } from "fastify";
import Type from "typebox";

const ErrorAnswer = Type.Object(
  {
    error: Type.Object({
      code: Type.String({ description: "Stable, for programs: STOW_NOT_FOUND." }),
      message: Type.String({ description: "For people: what is wrong and what to do next." }),
    }),
  },
  { description: "Refused, or failed" },
);

/** Where an operation stands in the document; undefined: it is a protocol's and has a document of its own. */
function tagOf(url: string): "admin" | "auth" | "health" | undefined {
  if (url.startsWith("/v1/admin/")) return "admin";
  if (url.startsWith("/v1/auth/")) return "auth";
  return url === "/livez" || url === "/readyz" ? "health" : undefined;
}

function describe(schema: FastifySchema | undefined, url: string): FastifySchema {
  const tag = tagOf(url);
  if (tag === undefined) return { ...schema, hide: true };
  const response = { ...(schema?.response as object | undefined), default: ErrorAnswer };
  const open = tag === "health" || url === "/v1/admin/openapi.json" || url.startsWith("/v1/auth/github");
  return { ...schema, tags: [tag], response, security: open ? [] : [{ bearer: [] }, { basic: [] }] };
}

/** Collects what the server's own routes say of themselves. To be awaited before the first of them is registered. */
export async function registerOpenApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.0.3",
      info: { title: "Stowhouse", version: "1", description: "Administration, session tokens and health of a Stowhouse server. Times are ISO 8601, sizes bytes." },
      tags: [
        { name: "admin", description: "Needs an admin key that is good for all caches." },
        { name: "auth", description: "Session tokens." },
        { name: "health", description: "For load balancers and Kubernetes." },
      ],
      components: { securitySchemes: { bearer: { type: "http", scheme: "bearer" }, basic: { type: "http", scheme: "basic", description: "The key is the password; any login." } } },
    },
    transform: ({ schema, url }) => ({ schema: describe(schema, url), url }),
  });
}

/** `GET /v1/admin/openapi.json`: open to all, because it holds nothing that the public source does not. */
export function registerDocument(app: FastifyInstance): void {
  let text: string | undefined;
  app.get(
    "/openapi.json",
    { config: { op: "admin.openapi", auth: "none" }, schema: { summary: "This document", operationId: "admin.openapi", response: { 200: Type.Object({}, { additionalProperties: true }) } } },
    (_, reply) => reply.type("application/json; charset=utf-8").send((text ??= JSON.stringify(app.swagger()))),
  );
}

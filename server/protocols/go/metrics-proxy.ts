import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import type { GoOptions } from "./options.ts";
import { MOUNT } from "./wire.ts";

/** Largest push, bytes, and the longest wait for the endpoint, ms. */
const MAX_PUSH = 4 * 1024 * 1024;
const TIMEOUT_MS = 10_000;

/**
 * Hands the metrics that cacheprog and our helper push at their end to the configured endpoint, as `cacheprog proxy` does: the
 * clients need no way to it and no credential for it. cacheprog pushes by GET with a body, which no proxy lets through: it goes on as POST.
 */
export function registerMetricsProxy(app: FastifyInstance, { auth, options, receive }: ProtocolContext<GoOptions>): void {
  app.route({
    method: ["GET", "POST", "PUT"],
    url: `${MOUNT}/metricsproxy`,
    exposeHeadRoute: false,
    config: { op: "metrics", kind: "other" },
    handler: async (request, reply) => {
      auth.grant(request);
      const { endpoint, headers } = options.metricsProxy;
      if (endpoint === undefined) throw errors.noRoute();
      const body = await receive.buffer(request, MAX_PUSH);
      try {
        const answer = await fetch(endpoint, {
          method: request.method === "PUT" ? "PUT" : "POST",
          headers: { ...about(request), ...headers },
          body: new Uint8Array(body),
          redirect: "error",
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        await answer.body?.cancel();
        return await reply.code(answer.status).send();
      } catch (error) {
        throw errors.noAnswer("protocols.go.metricsProxy.endpoint did not take the metrics", { cause: error });
      }
    },
  });
}

function about(request: FastifyRequest): Record<string, string> {
  const names = ["content-type", "content-encoding"];
  return Object.fromEntries(names.flatMap((name) => (typeof request.headers[name] === "string" ? [[name, request.headers[name]]] : [])));
}

import type { FastifyInstance } from "fastify";
import Type from "typebox";
import type { ProtocolContext } from "../../protocol.ts";
import { administered } from "../admin.ts";
import type { Workspaces } from "./workspaces.ts";

/** Agents that are connected are seen more often, ms. */
const FRESH_MS = 60_000;

const Text = Type.Unsafe<string | null>({ type: "string", nullable: true });

const Status = Type.Object({
  workspaces: Type.Array(
    Type.Object({
      name: Type.String(),
      agents: Type.Array(
        Type.Object({
          name: Type.String(),
          connected: Type.Boolean(),
          system: Text,
          version: Text,
          seen: Text,
          deployment: Type.Unsafe<{ id: string; number: number; path: string; status: string } | null>({
            type: "object", nullable: true, description: "The newest.",
            properties: { id: { type: "string" }, number: { type: "integer" }, path: { type: "string" }, status: { type: "string" } },
          }),
        }),
      ),
    }),
  ),
});

/** For administrators of the whole server: the agents there are, and what they were last told to activate. */
export function registerDeployStatus(app: FastifyInstance, context: Pick<ProtocolContext, "auth" | "core" | "log">, workspaces: Workspaces): void {
  app.get("/v1/admin/nix/deploy", administered(context, "deploy", { summary: "Agents of Cachix Deploy", response: { 200: Status } }), async () => {
    const list = workspaces.names.map(async (name) => ({
      name,
      agents: (await context.core.database.read("listAgents", { workspace: name, since: Date.now() - FRESH_MS })).map((agent) => ({ ...agent, seen: agent.seen === null ? null : new Date(agent.seen).toISOString() })),
    }));
    return { workspaces: await Promise.all(list) };
  });
}

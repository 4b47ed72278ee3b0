import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors } from "../../../core/errors.ts";
import type { Deployment } from "../../../database/operations/deploy.ts";
import { WebSockets, type WebSocketLimits } from "../../../http/websocket.ts";
import type { ProtocolContext } from "../../protocol.ts";
import { valid } from "../../valid.ts";
import type { NixOptions } from "../options.ts";
import type { Services } from "../services.ts";
import { activate } from "./activate.ts";
import { Agents } from "./agents.ts";
import { Logs } from "./logs.ts";
import { Progress } from "./progress.ts";
import { registerDeployStatus } from "./status.ts";
import { isUuid, parseDeploySpec, PATHS } from "./wire.ts";
import { Workspaces } from "./workspaces.ts";

const LIMITS: WebSocketLimits = { sockets: 4_000, perActor: 2_000, message: 2 ** 20, ping: 20_000, silence: 65_000, check: 2_000 };
const MAX_SPEC = 256 * 1024;
const TELL_MS = 60_000;

type WithId = FastifyRequest<{ Params: { id: string }; Querystring: { view?: string } }>;

/** Cachix Deploy (README.md). @throws config */
export function registerDeploy(app: FastifyInstance, context: ProtocolContext<NixOptions>, { narInfos, signing }: Services): void {
  const { auth, core, log, options, receive, urls } = context;
  const { database } = core;
  const workspaces = new Workspaces(options, auth);
  let told = 0;
  const problem = (what: string, error: unknown) => {
    // Every second would be too often, and metrics tell of a database that is away.
    if (Date.now() - told < TELL_MS) return;
    told = Date.now();
    log.warn(`Cachix Deploy: ${what}`, { cause: String(error) });
  };
  const sockets = new WebSockets(auth, LIMITS);
  const logs = new Logs(database, sockets);
  const agents = new Agents({ core, options, signing, sockets, problem });
  const progress = new Progress({ core, sockets, agents, logs, lost: options.deploy.lost, keep: options.deploy.keep, problem });
  // A server without workspaces leaves requests for WebSockets to be refused as any other.
  if (workspaces.names.length > 0) {
    sockets.listen(app);
    agents.start();
    progress.start();
  }
  app.addHook("preClose", async () => {
    agents.close();
    progress.close();
    await logs.close();
  });
  registerDeployStatus(app, context, workspaces);

  app.get(PATHS.agent, labels("agent"), async (request, reply) => agents.connect(request, reply, workspaces.member(request, "agent")));

  app.get(PATHS.progress, labels("progress"), async (request, reply) => progress.connect(request, reply, workspaces.member(request, "agent")));

  app.get(PATHS.log, labels("log"), async (request, reply) => {
    const { query } = request as WithId;
    if (query.view === "true") return logs.view(request, reply, await deploymentOf(request, workspaces.member(request, "activate").workspace));
    const member = workspaces.member(request, "agent");
    const deployment = await deploymentOf(request, member.workspace);
    if (deployment.agentName !== agents.nameOf(request, member)) throw errors.notFound();
    return logs.write(request, reply, deployment);
  });

  for (const [path, version] of [[PATHS.activateV1, 1], [PATHS.activateV2, 2]] as const) {
    app.post(path, labels("activate"), async (request, reply) => {
      const member = workspaces.member(request, "activate");
      const body = (await receive.buffer(request, MAX_SPEC)).toString("utf8");
      const spec = valid(() => parseDeploySpec(body));
      const ids = await activate({ core, options, narInfos, signing }, member, spec, request.stow.address);
      void agents.look();
      const url = (id: string) => `${urls.origin(request)}${PATHS.deployment.replace(":id", id)}`;
      const answer = Object.entries(ids).map(([agent, id]) => [agent, version === 1 ? url(id) : { id, url: url(id) }]);
      return reply.header("cache-control", "no-store").send({ agents: Object.fromEntries(answer) });
    });
  }

  app.get(PATHS.deployment, labels("deployment"), async (request, reply) => {
    const { id, number: index, path: storePath, closure: closureSize, status, created, started, finished } = await deploymentOf(request, workspaces.member(request, "activate").workspace);
    return reply.header("cache-control", "no-store").send({ id, index, createdOn: iso(created), startedOn: iso(started), finishedOn: iso(finished), storePath, closureSize, status });
  });

  /** Another workspace's is as good as none. @throws notFound */
  async function deploymentOf(request: FastifyRequest, workspace: string): Promise<Deployment> {
    const { id } = (request as WithId).params;
    const deployment = isUuid(id) ? await database.read("getDeployment", { id: id.toLowerCase() }) : undefined;
    if (deployment?.workspace !== workspace) throw errors.notFound();
    return deployment;
  }
}

function iso(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

function labels(op: string) {
  return { config: { op: `deploy.${op}`, kind: "other" as const } };
}

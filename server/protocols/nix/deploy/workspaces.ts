import type { FastifyRequest } from "fastify";
import { errors } from "../../../core/errors.ts";
import type { Grant } from "../../../core/grant.ts";
import type { Auth } from "../../../http/auth.ts";
import type { NixOptions } from "../options.ts";
import { deployProblem } from "./setup.ts";

/** Who asks, and where. */
export interface Member {
  readonly workspace: string;
  /** Agents there may be; empty: any. */
  readonly agents: readonly string[];
  /** The one agent it may be. */
  readonly only: string | undefined;
  /** Its rights in the workspace's cache. */
  readonly grant: Grant;
}

/** The workspaces of this server, and who may do what there. */
export class Workspaces {
  readonly #options: NixOptions;
  readonly #auth: Auth;

  /** @throws config */
  constructor(options: NixOptions, auth: Auth) {
    const problem = deployProblem(options);
    if (problem !== undefined) throw errors.config(problem);
    this.#options = options;
    this.#auth = auth;
  }

  get names(): string[] {
    return Object.keys(this.#options.deploy.workspaces);
  }

  /** @throws noDeploy, unauthorized, forbiddenDeploy */
  member(request: FastifyRequest, may: "agent" | "activate"): Member {
    const { domain, deploy } = this.#options;
    if (domain === undefined || this.names.length === 0) throw errors.noDeploy("protocols.nix.domain and protocols.nix.deploy.workspaces are not set");
    // An agent that came by another name would look for its cache below that.
    if (request.hostname.toLowerCase() !== domain.toLowerCase()) throw errors.noDeploy(`connect to ${domain}, below which agents find their caches`);
    const { credential } = request.stow;
    if (!credential || credential.kind === "anonymous") throw errors.unauthorized();
    const right = credential.deploy;
    if (right?.may !== may) throw errors.forbiddenDeploy(may === "agent" ? "it is no agent's key (key create --deploy-agent)" : "it can't activate (key create --deploy-activate)");
    const settings = Object.hasOwn(deploy.workspaces, right.workspace) ? deploy.workspaces[right.workspace] : undefined;
    if (!settings) throw errors.forbiddenDeploy(`there is no workspace ${right.workspace}`);
    this.#auth.choose(request, settings.cache);
    const { grant } = request.stow;
    if (!grant) throw errors.forbiddenDeploy(`it is not good for the cache ${settings.cache}`);
    return { workspace: right.workspace, agents: settings.agents, only: right.agent, grant };
  }
}

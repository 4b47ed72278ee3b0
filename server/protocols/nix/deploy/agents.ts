import { randomUUID } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { WebSocket } from "ws";
import type { Core } from "../../../core/core.ts";
import { errors } from "../../../core/errors.ts";
import { CLOSE, hangUp, type WebSockets } from "../../../http/websocket.ts";
import { AGENT_NAME } from "../../../identity/key-options.ts";
import type { NixOptions } from "../options.ts";
import type { Signing } from "../signing.ts";
import { agentsKeyName } from "./setup.ts";
import { formatDeployment, formatRegistered, type AgentsCache } from "./wire.ts";
import type { Member } from "./workspaces.ts";

/** An agent of a workspace, as one of its processes has introduced itself. */
export interface Agent {
  readonly id: string;
  readonly name: string;
  readonly workspace: string;
}

interface Connection extends Agent {
  readonly session: string;
  readonly socket: WebSocket;
}

/** How often the database is asked whether there is something for the agents that are connected here, ms. */
const POLL_MS = 1_000;
/** How often is written down that they are connected, ms. */
const SEE_MS = 20_000;
/** What was sent and not begun for so long is sent again, ms. */
const RESEND_MS = 60_000;
/** Agents that a workspace may have which don't stand in the configuration. */
const MAX_AGENTS = 1_000;

/**
 * The agents that are connected to this process. The database holds what they are to do: whoever activates, here or on another
 * replica, writes it there, and the process that has an agent's connection finds it and sends it.
 */
export class Agents {
  readonly #core: Core;
  readonly #options: NixOptions;
  readonly #signing: Signing;
  readonly #sockets: WebSockets;
  readonly #problem: (what: string, error: unknown) => void;
  /** By session. */
  readonly #connected = new Map<string, Connection>();
  #timers: NodeJS.Timeout[] = [];
  #looking = false;
  #again = false;
  #closed = false;

  constructor(parts: { core: Core; options: NixOptions; signing: Signing; sockets: WebSockets; problem: (what: string, error: unknown) => void }) {
    this.#core = parts.core;
    this.#options = parts.options;
    this.#signing = parts.signing;
    this.#sockets = parts.sockets;
    this.#problem = parts.problem;
  }

  start(): void {
    this.#timers = [setInterval(() => void this.look(), POLL_MS).unref(), setInterval(() => void this.#see(), SEE_MS).unref()];
  }

  /** The name that a process says is its agent's. @throws badRequest, forbiddenDeploy */
  nameOf(request: FastifyRequest, { workspace, agents, only }: Member): string {
    const { name } = request.headers;
    if (typeof name !== "string" || !AGENT_NAME.test(name)) throw errors.badRequest("the header name says which agent this is: letters, digits, . _ and -");
    if (only !== undefined && name !== only) throw errors.forbiddenDeploy(`it is the key of the agent ${only}`);
    if (agents.length > 0 && !agents.includes(name)) throw errors.forbiddenDeploy(`the workspace ${workspace} has no agent ${name}`);
    return name;
  }

  /** The agent that a deployment's own process belongs to. @throws what nameOf does, notFound */
  async known(request: FastifyRequest, member: Member): Promise<Agent> {
    const name = this.nameOf(request, member);
    const found = await this.#core.database.read("findAgent", { workspace: member.workspace, name });
    if (!found) throw errors.notFound();
    return { id: found.id, name, workspace: member.workspace };
  }

  /** Takes an agent's connection; the one it had before is closed, wherever that is. */
  async connect(request: FastifyRequest, reply: FastifyReply, member: Member): Promise<FastifyReply> {
    const { database } = this.#core;
    const { workspace, agents } = member;
    const name = this.nameOf(request, member);
    const room = agents.length > 0 || (await database.read("findAgent", { workspace, name })) !== undefined || (await database.read("countAgents", { workspace })) < MAX_AGENTS;
    if (!room) throw errors.forbiddenDeploy(`the workspace ${workspace} has ${MAX_AGENTS} agents`);
    const registered = await this.registration(member);
    const session = randomUUID();
    const id = await database.write("joinAgent", { id: randomUUID(), workspace, name, system: header(request, "system"), version: header(request, "version"), session, now: Date.now() });
    return this.#sockets.accept(request, reply, (socket) => {
      this.#connected.set(session, { id, name, workspace, session, socket });
      // It has nothing to say here but pings.
      socket.on("message", () => {});
      socket.once("close", () => {
        this.#connected.delete(session);
        if (!this.#closed) database.write("leaveAgent", { agent: id, session, now: Date.now() }).catch((error: unknown) => this.#problem("that an agent left was not written down", error));
      });
      socket.send(registered(id));
      void this.look();
    });
  }

  /** What an agent is told first: who it is, and where it finds what it activates. */
  async registration({ grant }: Pick<Member, "grant">): Promise<(agent: string) => string> {
    const { signing } = await this.#signing.keys(grant.cache);
    const key = signing.find(({ name }) => name === agentsKeyName(this.#options, grant.cache))!;
    const cache: AgentsCache = { cacheName: grant.cache, publicKey: key.public.text.slice(key.name.length + 1), isPublic: this.#core.caches.require(grant.cache).anonymousRead };
    return (agent) => formatRegistered(agent, randomUUID(), cache);
  }

  /** Looks for what there is to send, to all who are connected here. Never rejects. */
  async look(): Promise<void> {
    this.#again = true;
    if (this.#looking) return;
    this.#looking = true;
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        await this.#lookOnce();
      }
    } catch (error) {
      this.#problem("what agents are to do could not be looked up; it is tried again", error);
    } finally {
      this.#looking = false;
    }
  }

  async #lookOnce(): Promise<void> {
    if (this.#connected.size === 0) return;
    const connections = [...this.#connected.values()];
    const resend = Date.now() - RESEND_MS;
    const work = new Map((await this.#core.database.read("agentsWork", { agents: connections.map(({ id }) => id), resend })).map((one) => [one.agent, one]));
    for (const connection of connections) {
      const { session, ready } = work.get(connection.id) ?? { session: null, ready: false };
      // The code that makes an agent stop: two of one name would take the connection from each other for ever.
      if (session !== connection.session) hangUp(connection.socket, CLOSE.done, "another agent of this name has connected");
      else if (ready) await this.#dispatch(connection, resend);
    }
  }

  async #see(): Promise<void> {
    const sessions = [...this.#connected.values()].map(({ id: agent, session }) => ({ agent, session }));
    if (sessions.length === 0) return;
    await this.#core.database.write("seeAgents", { sessions, now: Date.now() }).catch((error: unknown) => this.#problem("which agents are connected could not be written down", error));
  }

  async #dispatch({ id: agent, session, socket }: Connection, resend: number): Promise<void> {
    const next = await this.#core.database.write("dispatchDeployment", { agent, session, resend, now: Date.now() });
    if (!next) return;
    const { deployment, system } = next;
    const rollbackScript = (system !== null && Object.hasOwn(deployment.rollback, system) && deployment.rollback[system]) || null;
    socket.send(formatDeployment(agent, randomUUID(), { id: deployment.id, index: deployment.number, storePath: deployment.path, rollbackScript }));
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
  }
}

/** A header of an agent, for people to look at. */
function header(request: FastifyRequest, name: string): string | null {
  const value = request.headers[name];
  return typeof value === "string" && /^[\x21-\x7e]{1,100}$/.test(value) ? value : null;
}

import type { FastifyReply, FastifyRequest } from "fastify";
import type { WebSocket } from "ws";
import type { Core } from "../../../core/core.ts";
import { CLOSE, hangUp, type WebSockets } from "../../../http/websocket.ts";
import { WireError } from "../../wire.ts";
import type { Agent, Agents } from "./agents.ts";
import type { Logs } from "./logs.ts";
import { parseAgentCommand, type AgentCommand } from "./wire.ts";
import type { Member } from "./workspaces.ts";

/** How often is written down that agents are still at work, and looked for those that are not, ms. */
const HEAR_MS = 15_000;
const PRUNE_MS = 3_600_000;
/** Messages that may wait for the database: an agent sends three. */
const MAX_WAITING = 50;

/** What deployments' processes tell of them, and what becomes of those that tell nothing any more. */
export class Progress {
  readonly #core: Core;
  readonly #sockets: WebSockets;
  readonly #agents: Agents;
  readonly #logs: Logs;
  readonly #lost: number;
  readonly #keep: number;
  readonly #problem: (what: string, error: unknown) => void;
  /** Agents with processes on this server. */
  readonly #heard = new Map<WebSocket, string>();
  #timers: NodeJS.Timeout[] = [];

  constructor(parts: { core: Core; sockets: WebSockets; agents: Agents; logs: Logs; lost: number; keep: number; problem: (what: string, error: unknown) => void }) {
    this.#core = parts.core;
    this.#sockets = parts.sockets;
    this.#agents = parts.agents;
    this.#logs = parts.logs;
    this.#lost = parts.lost;
    this.#keep = parts.keep;
    this.#problem = parts.problem;
  }

  start(): void {
    this.#timers = [setInterval(() => void this.hear(), HEAR_MS).unref(), setInterval(() => void this.#prune(), PRUNE_MS).unref()];
  }

  /** Takes the connection of a deployment's process. */
  async connect(request: FastifyRequest, reply: FastifyReply, member: Member): Promise<FastifyReply> {
    const agent = await this.#agents.known(request, member);
    const registered = await this.#agents.registration(member);
    const { address } = request.stow;
    return this.#sockets.accept(request, reply, (socket) => {
      this.#heard.set(socket, agent.id);
      socket.once("close", () => this.#heard.delete(socket));
      let working: Promise<void> = Promise.resolve();
      let waiting = 0;
      socket.on("message", (data: Buffer) => {
        try {
          const command = parseAgentCommand(data.toString("utf8"));
          if (++waiting > MAX_WAITING) return hangUp(socket, CLOSE.refused, "too many messages");
          working = working.then(() => this.#take(agent, member, command, address)).finally(() => waiting--);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
          hangUp(socket, CLOSE.refused, error.message);
        }
      });
      // Processes of older versions begin when they are told this.
      socket.send(registered(agent.id));
    });
  }

  /** Another agent's deployment is nobody's, and one that has ended stays as it is. */
  async #take(agent: Agent, { workspace, grant }: Member, command: AgentCommand, address: string): Promise<void> {
    const { database, journal } = this.#core;
    const now = Date.now();
    if (command.tag === "DeploymentStarted") {
      await this.#logs.persist(() => database.write("beginDeployment", { id: command.id, agent: agent.id, closure: command.closureSize, now }));
      return;
    }
    const { id, hasSucceeded: succeeded } = command;
    const audit = { at: now, actor: grant.actor, action: "deploy.finish", cache: grant.cache, keyspace: "", scope: workspace, key: `${agent.name} ${id}`, size: 0, result: succeeded ? "ok" : "failed", address };
    if (await this.#logs.persist(() => database.write("endDeployment", { id, agent: agent.id, succeeded, now, audit }))) journal.auditLine(audit);
    this.#logs.wake(id);
    void this.#agents.look();
  }

  /** Writes down who is at work, and fails what nobody is at work on. Never rejects. */
  async hear(now = Date.now()): Promise<void> {
    const { database } = this.#core;
    try {
      await database.write("hearAgents", { agents: [...this.#heard.values()], now });
      const line = JSON.stringify([{ line: `Failed to activate the deployment. Its agent was not heard of for ${Math.round(this.#lost / 60_000)} minutes.`, time: new Date(now).toISOString() }]);
      for (const { id } of await database.write("loseDeployments", { before: now - this.#lost, now, line })) this.#logs.wake(id);
    } catch (error) {
      this.#problem("which agents are at work could not be written down", error);
    }
  }

  async #prune(): Promise<void> {
    try {
      while ((await this.#core.database.write("pruneDeployments", { before: Date.now() - this.#keep })) > 0);
    } catch (error) {
      this.#problem("old deployments could not be forgotten; they are the next time", error);
    }
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }
}

import { WireError } from "../../wire.ts";

/**
 * What agents and the server say to each other (nix.md §3.4, §3.5): JSON as Haskell's aeson writes it. What the server says has
 * its content under `contents`; what an agent says has its fields beside `tag`.
 */

export const PATHS = {
  agent: "/ws",
  progress: "/ws-deployment",
  log: "/api/v1/deploy/log/:id",
  activateV1: "/api/v1/deploy/activate",
  activateV2: "/api/v2/deploy/activate",
  deployment: "/api/v1/deploy/deployment/:id",
} as const;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isUuid(text: unknown): text is string {
  return typeof text === "string" && UUID.test(text.toLowerCase());
}

/** The cache that an agent fetches from. */
export interface AgentsCache {
  readonly cacheName: string;
  /** Base64, without the key's name. */
  readonly publicKey: string;
  readonly isPublic: boolean;
}

/** @param id of the message */
export function formatRegistered(agent: string, id: string, cache: AgentsCache): string {
  return JSON.stringify({ method: "AgentRegistered", agent, id, command: { tag: "AgentRegistered", contents: { id: agent, cache } } });
}

export interface DeploymentOrder {
  readonly id: string;
  readonly index: number;
  readonly storePath: string;
  readonly rollbackScript: string | null;
}

export function formatDeployment(agent: string, id: string, contents: DeploymentOrder): string {
  return JSON.stringify({ method: "Deployment", agent, id, command: { tag: "Deployment", contents } });
}

/** What an agent tells of a deployment. */
export type AgentCommand =
  | { readonly tag: "DeploymentStarted"; readonly id: string; readonly closureSize: number | null }
  | { readonly tag: "DeploymentFinished"; readonly id: string; readonly hasSucceeded: boolean };

/** @throws WireError */
export function parseAgentCommand(text: string): AgentCommand {
  const command = fields(fields(json(text), "a message")["command"], "a message's command");
  const { tag, id, closureSize = null, hasSucceeded } = command;
  if (!isUuid(id)) throw new WireError("a command names a deployment's id");
  if (tag === "DeploymentStarted") {
    if (closureSize !== null && !(Number.isSafeInteger(closureSize) && (closureSize as number) >= 0)) throw new WireError("closureSize is a number of bytes");
    return { tag, id: id.toLowerCase(), closureSize: closureSize as number | null };
  }
  if (tag === "DeploymentFinished" && typeof hasSucceeded === "boolean") return { tag, id: id.toLowerCase(), hasSucceeded };
  throw new WireError("a command is DeploymentStarted, or DeploymentFinished with hasSucceeded");
}

export interface LogLine {
  readonly line: string;
  /** ISO 8601. */
  readonly time: string;
}

/** Longer lines are cut, characters. */
const LINE = 8_192;

/** @param now for a line without a time that is one @throws WireError */
export function parseLogLine(text: string, now: Date): LogLine {
  const { line, time } = fields(json(text), "a line of a log");
  if (typeof line !== "string") throw new WireError("a line of a log is a text");
  const at = typeof time === "string" && time.length <= 40 ? Date.parse(time) : Number.NaN;
  return { line: line.length > LINE ? `${line.slice(0, LINE)} …` : line, time: (Number.isNaN(at) ? now : new Date(at)).toISOString() };
}

/** Whoever reads a log stops at such a line. */
export function isLastLine({ line }: LogLine): boolean {
  return line.startsWith("Successfully activated the deployment") || line.startsWith("Failed to activate the deployment");
}

/** What agents are to activate. */
export interface DeploySpec {
  /** Store paths by agent. */
  readonly agents: Readonly<Record<string, string>>;
  /** Store paths by system. */
  readonly rollbackScript: Readonly<Record<string, string>>;
}

/** Agents of one activation, and systems. */
const MAX_AGENTS = 200;
const MAX_SYSTEMS = 20;

/** @throws WireError */
export function parseDeploySpec(text: string): DeploySpec {
  const spec = fields(json(text), "a deploy specification");
  const agents = texts(spec["agents"], "agents", MAX_AGENTS);
  if (Object.keys(agents).length === 0) throw new WireError("agents names no agent");
  return { agents, rollbackScript: texts(spec["rollbackScript"] ?? {}, "rollbackScript", MAX_SYSTEMS) };
}

function texts(value: unknown, name: string, most: number): Record<string, string> {
  const entries = Object.entries(fields(value, name));
  if (entries.length > most) throw new WireError(`${name} has more than ${most} members`);
  for (const [key, path] of entries) if (key === "" || key.length > 100 || typeof path !== "string") throw new WireError(`${name} maps names to store paths`);
  // Names like __proto__ are names.
  return Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(entries));
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new WireError("this is no JSON");
  }
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new WireError(`${what} is an object`);
  return value as Record<string, unknown>;
}

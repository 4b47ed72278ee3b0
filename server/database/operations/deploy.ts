import { all, first, flag, step, type Row, type Steps } from "../step.ts";
import { auditStep, type AuditRecord } from "./audit.ts";
import { batches, placeholders } from "./chunks.ts";

export type DeploymentStatus = "Pending" | "InProgress" | "Cancelled" | "Failed" | "Succeeded";

/** One path that one agent is to activate. Times in ms. */
export interface Deployment {
  readonly id: string;
  readonly workspace: string;
  /** The agent's id, and its name. */
  readonly agent: string;
  readonly agentName: string;
  /** Counts the agent's deployments from 1. */
  readonly number: number;
  readonly path: string;
  /** What tests an activation, by the agent's system. */
  readonly rollback: Readonly<Record<string, string>>;
  readonly closure: number | null;
  readonly status: DeploymentStatus;
  readonly created: number;
  readonly started: number | null;
  readonly finished: number | null;
}

const COLUMNS = "d.id, a.workspace, d.agent, a.name AS agent_name, d.number, d.path, d.rollback, d.closure, d.status, d.created, d.started, d.finished";
const JOINED = `SELECT ${COLUMNS} FROM deployments d JOIN deploy_agents a ON a.id = d.agent`;

function deploymentOf({ agent_name: agentName, rollback, ...row }: Row): Deployment {
  return { ...(row as unknown as Deployment), agentName: agentName as string, rollback: rollback === null ? {} : JSON.parse(rollback as string) };
}

/** An agent has connected: it is made known, and this connection is the one it has. Returns its id. */
export function* joinAgent(args: { id: string; workspace: string; name: string; system: string | null; version: string | null; session: string; now: number }): Steps<string> {
  const row = yield* first(
    "INSERT INTO deploy_agents (id, workspace, name, system, version, session, seen, deployments) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0) " +
      "ON CONFLICT (workspace, name) DO UPDATE SET system = excluded.system, version = excluded.version, session = excluded.session, seen = excluded.seen RETURNING id",
    args.id, args.workspace, args.name, args.system, args.version, args.session, args.now,
  );
  return row!["id"] as string;
}

/** The connection has ended; nothing happens when the agent has another one by now. */
export function* leaveAgent(args: { agent: string; session: string; now: number }): Steps<void> {
  yield step("UPDATE deploy_agents SET session = NULL, seen = ?3 WHERE id = ?1 AND session = ?2", args.agent, args.session, args.now);
}

/** These connections are still there. */
export function* seeAgents(args: { sessions: { agent: string; session: string }[]; now: number }): Steps<void> {
  const sessions = args.sessions.toSorted((a, b) => (a.agent < b.agent ? -1 : 1));
  if (sessions.length > 0) yield sessions.map(({ agent, session }) => step("UPDATE deploy_agents SET seen = ?3 WHERE id = ?1 AND session = ?2", agent, session, args.now));
}

/** An agent that is known or may become so. Undefined: there is none of this name. */
export function* findAgent(args: { workspace: string; name: string }): Steps<{ id: string } | undefined> {
  return (yield* first("SELECT id FROM deploy_agents WHERE workspace = ?1 AND name = ?2", args.workspace, args.name)) as { id: string } | undefined;
}

export function* countAgents(args: { workspace: string }): Steps<number> {
  return (yield* first("SELECT count(*) AS n FROM deploy_agents WHERE workspace = ?1", args.workspace))!["n"] as number;
}

export interface Activation {
  readonly workspace: string;
  readonly rollback: Readonly<Record<string, string>>;
  /** `agentId` is the agent's from now on, should it not be known yet. */
  readonly targets: readonly { readonly agent: string; readonly agentId: string; readonly id: string; readonly path: string; readonly audit: AuditRecord }[];
  readonly now: number;
}

/**
 * New deployments, one for each agent. Those that wait and were not sent over the agent's connection will never be: they are
 * cancelled. Returns the agents' ids and the ids of what was cancelled.
 */
export function* activateDeployments({ workspace, rollback, targets, now }: Activation): Steps<{ agents: string[]; cancelled: string[] }> {
  const agents: string[] = [];
  const cancelled: string[] = [];
  // In order, as in everything that locks several rows.
  for (const target of targets.toSorted((a, b) => (a.agent < b.agent ? -1 : 1))) {
    yield step("INSERT INTO deploy_agents (id, workspace, name, deployments) VALUES (?1, ?2, ?3, 0) ON CONFLICT DO NOTHING", target.agentId, workspace, target.agent);
    const agent = (yield* first("UPDATE deploy_agents SET deployments = deployments + 1 WHERE workspace = ?1 AND name = ?2 RETURNING id, session, deployments", workspace, target.agent))!;
    const id = agent["id"] as string;
    const old = yield* all(
      "UPDATE deployments SET status = 'Cancelled', finished = ?3 WHERE agent = ?1 AND status = 'Pending' AND (session IS NULL OR session <> ?2) RETURNING id",
      id, (agent["session"] as string | null) ?? "", now,
    );
    cancelled.push(...old.map((row) => row["id"] as string));
    yield [
      step(
        "INSERT INTO deployments (id, agent, number, path, rollback, status, created) VALUES (?1, ?2, ?3, ?4, ?5, 'Pending', ?6)",
        target.id, id, agent["deployments"] as number, target.path, Object.keys(rollback).length === 0 ? null : JSON.stringify(rollback), now,
      ),
      auditStep(target.audit),
    ];
    agents.push(id);
  }
  return { agents, cancelled };
}

export function* getDeployment(args: { id: string }): Steps<Deployment | undefined> {
  const row = yield* first(`${JOINED} WHERE d.id = ?1`, args.id);
  return row && deploymentOf(row);
}

/** What there is to do for an agent: whether a connection is still the one it has, and whether something may be sent. */
export interface AgentWork {
  readonly agent: string;
  readonly session: string | null;
  readonly ready: boolean;
}

const UNDER_WAY = "(d.status = 'InProgress' OR (d.status = 'Pending' AND d.session = ?2 AND d.sent > ?3))";
const READY =
  "CASE WHEN EXISTS (SELECT 1 FROM deployments d WHERE d.agent = a.id AND d.status = 'Pending') AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.agent = a.id " +
  "AND (d.status = 'InProgress' OR (d.status = 'Pending' AND d.session = a.session AND d.sent > ?1))) THEN 1 ELSE 0 END";

/** @param args.resend what was sent before this time and was not begun is sent again */
export function* agentsWork(args: { agents: string[]; resend: number }): Steps<AgentWork[]> {
  const work: AgentWork[] = [];
  for (const batch of batches(args.agents)) {
    const rows = yield* all(`SELECT a.id, a.session, ${READY} AS ready FROM deploy_agents a WHERE a.id IN (${placeholders(2)})`, args.resend, ...batch);
    work.push(...rows.map(({ id, session, ready }) => ({ agent: id as string, session: session as string | null, ready: ready === 1 })));
  }
  return work;
}

/**
 * The deployment to send over this connection now: the newest that waits, unless one is under way. Older ones are cancelled:
 * they are never sent. Undefined when there is none, or the agent has another connection.
 */
export function* dispatchDeployment(args: { agent: string; session: string; resend: number; now: number }): Steps<{ deployment: Deployment; system: string | null } | undefined> {
  const agent = yield* first("UPDATE deploy_agents SET seen = ?3 WHERE id = ?1 AND session = ?2 RETURNING system", args.agent, args.session, args.now);
  if (!agent) return undefined;
  const busy = yield* first(`SELECT d.id FROM deployments d WHERE d.agent = ?1 AND ${UNDER_WAY} LIMIT 1`, args.agent, args.session, args.resend);
  if (busy) return undefined;
  const row = yield* first(`${JOINED} WHERE d.agent = ?1 AND d.status = 'Pending' ORDER BY d.number DESC LIMIT 1`, args.agent);
  if (!row) return undefined;
  const deployment = deploymentOf(row);
  yield [
    step("UPDATE deployments SET status = 'Cancelled', finished = ?3 WHERE agent = ?1 AND status = 'Pending' AND id <> ?2", args.agent, deployment.id, args.now),
    step("UPDATE deployments SET session = ?2, sent = ?3 WHERE id = ?1", deployment.id, args.session, args.now),
  ];
  return { deployment, system: agent["system"] as string | null };
}

/** The agent has begun. False when the deployment has ended before: that never changes. */
export function* beginDeployment(args: { id: string; agent: string; closure: number | null; now: number }): Steps<boolean> {
  const row = yield* first(
    "UPDATE deployments SET status = 'InProgress', started = coalesce(started, ?3), heard = ?3, closure = coalesce(?4, closure) WHERE id = ?1 AND agent = ?2 AND status IN ('Pending', 'InProgress') RETURNING id",
    args.id, args.agent, args.now, args.closure,
  );
  return row !== undefined;
}

export function* endDeployment(args: { id: string; agent: string; succeeded: boolean; now: number; audit: AuditRecord }): Steps<boolean> {
  const row = yield* first(
    "UPDATE deployments SET status = CASE WHEN ?4 = 1 THEN 'Succeeded' ELSE 'Failed' END, started = coalesce(started, ?3), finished = ?3 WHERE id = ?1 AND agent = ?2 AND status IN ('Pending', 'InProgress') RETURNING id",
    args.id, args.agent, args.now, flag(args.succeeded),
  );
  if (row) yield auditStep(args.audit);
  return row !== undefined;
}

/** Agents whose processes are connected: what they run is not lost. */
export function* hearAgents(args: { agents: string[]; now: number }): Steps<void> {
  const agents = [...new Set(args.agents)].toSorted();
  if (agents.length > 0) yield agents.map((agent) => step("UPDATE deployments SET heard = ?2 WHERE agent = ?1 AND status = 'InProgress'", agent, args.now));
}

/** Fails what runs and was not heard of since `before`, at most 100 a call. `line` ends its log. */
export function* loseDeployments(args: { before: number; now: number; line: string }): Steps<Deployment[]> {
  const rows = yield* all(`${JOINED} WHERE d.status = 'InProgress' AND d.heard < ?1 ORDER BY d.id LIMIT 100`, args.before);
  const lost: Deployment[] = [];
  for (const row of rows) {
    const id = row["id"] as string;
    const failed = yield* first("UPDATE deployments SET status = 'Failed', finished = ?2 WHERE id = ?1 AND status = 'InProgress' AND heard < ?3 RETURNING id", id, args.now, args.before);
    if (!failed) continue;
    yield* appendDeploymentLog({ id, lines: args.line, room: Number.MAX_SAFE_INTEGER });
    lost.push(deploymentOf(row));
  }
  return lost;
}

/** Lines that came together; false when the log has no room for them. @param args.room bytes a log may have */
export function* appendDeploymentLog(args: { id: string; lines: string; room: number }): Steps<boolean> {
  // Locks the deployment's row: of two who write at once the second sees the first's position.
  const row = yield* first("UPDATE deployments SET id = id WHERE id = ?1 RETURNING id", args.id);
  if (!row) return false;
  const end = (yield* first("SELECT coalesce(max(position), 0) AS position, CAST(coalesce(sum(size), 0) AS BIGINT) AS size FROM deployment_logs WHERE deployment = ?1", args.id))!;
  const size = Buffer.byteLength(args.lines);
  if ((end["size"] as number) + size > args.room) return false;
  yield step("INSERT INTO deployment_logs (deployment, position, size, lines) VALUES (?1, ?2, ?3, ?4)", args.id, (end["position"] as number) + 1, size, args.lines);
  return true;
}

/** What was appended after a position, in order, at most 20 batches. */
export function* readDeploymentLog(args: { id: string; after: number }): Steps<{ position: number; lines: string }[]> {
  return (yield* all("SELECT position, lines FROM deployment_logs WHERE deployment = ?1 AND position > ?2 ORDER BY position LIMIT 20", args.id, args.after)) as unknown as { position: number; lines: string }[];
}

/** Forgets deployments made before a time that do not run, at most 100 a call; returns how many, so that the caller repeats. */
export function* pruneDeployments(args: { before: number }): Steps<number> {
  const rows = yield* all("DELETE FROM deployments WHERE id IN (SELECT id FROM deployments WHERE created < ?1 AND status <> 'InProgress' ORDER BY created LIMIT 100) RETURNING id", args.before);
  if (rows.length > 0) yield rows.map((row) => step("DELETE FROM deployment_logs WHERE deployment = ?1", row["id"] as string));
  return rows.length;
}

/** An agent and its newest deployment, for administrators. */
export interface AgentState {
  readonly workspace: string;
  readonly name: string;
  readonly system: string | null;
  readonly version: string | null;
  readonly connected: boolean;
  readonly seen: number | null;
  readonly deployment: { readonly id: string; readonly number: number; readonly path: string; readonly status: DeploymentStatus } | null;
}

/** In the order of their names, at most 1000. @param args.since an agent not seen since then is not connected: its server may have died */
export function* listAgents(args: { workspace: string; since: number }): Steps<AgentState[]> {
  const rows = yield* all(
    "SELECT a.workspace, a.name, a.system, a.version, a.session, a.seen, d.id, d.number, d.path, d.status FROM deploy_agents a " +
      "LEFT JOIN deployments d ON d.agent = a.id AND d.number = a.deployments WHERE a.workspace = ?1 ORDER BY a.name LIMIT 1000",
    args.workspace,
  );
  return rows.map(({ id, number, path, status, session, ...agent }) => ({
    ...(agent as unknown as AgentState), connected: session !== null && (agent["seen"] as number) >= args.since,
    deployment: id === null ? null : ({ id, number, path, status } as unknown as AgentState["deployment"]),
  }));
}

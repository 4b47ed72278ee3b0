import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { audit, newCache, type Subject } from "./subject.ts";

const PATH = "/nix/store/00000000000000000000000000000000-system";

export function deploy(get: () => Subject): void {
  const db = () => get().database;
  const join = (workspace: string, session: string, name = "web") => db().write("joinAgent", { id: randomUUID(), workspace, name, system: "x86_64-linux", version: "1", session, now: 1 });
  const activate = async (workspace: string, agents = ["web"], now = 10) => {
    const targets = agents.map((agent) => ({ agent, agentId: randomUUID(), id: randomUUID(), path: PATH, audit: audit("deploy.activate") }));
    const { cancelled } = await db().write("activateDeployments", { workspace, rollback: { "x86_64-linux": PATH }, targets, now });
    return { ids: targets.map(({ id }) => id), id: targets[0]!.id, cancelled };
  };
  const dispatch = (agent: string, session: string, now = 100, resend = 0) => db().write("dispatchDeployment", { agent, session, resend, now });
  const work = async (agent: string, resend: number) => db().read("agentsWork", { agents: [agent], resend });
  const status = async (id: string) => (await db().read("getDeployment", { id }))?.status;
  const begin = (id: string, agent: string, closure: number | null = null) => db().write("beginDeployment", { id, agent, closure, now: 200 });
  const end = (id: string, agent: string, succeeded: boolean) => db().write("endDeployment", { id, agent, succeeded, now: 300, audit: audit("deploy.finish") });

  describe("deployments", () => {
    test("an agent keeps its id over connections, and has the last one", async () => {
      const workspace = newCache();
      const id = await join(workspace, "s1");
      expect(await join(workspace, "s2")).toBe(id);
      expect(await join(newCache(), "s1")).not.toBe(id);
      await db().write("leaveAgent", { agent: id, session: "s1", now: 5 });
      expect(await work(id, 0)).toEqual([{ agent: id, session: "s2", ready: false }]);
      const connected = async (since: number) => (await db().read("listAgents", { workspace, since }))[0]!.connected;
      expect([await connected(1), await connected(2)]).toEqual([true, false]);
      await db().write("seeAgents", { sessions: [{ agent: id, session: "s1" }], now: 2 });
      expect(await connected(2)).toBe(false);
      await db().write("seeAgents", { sessions: [{ agent: id, session: "s2" }], now: 2 });
      expect(await connected(2)).toBe(true);
      await db().write("leaveAgent", { agent: id, session: "s2", now: 6 });
      expect(await db().read("listAgents", { workspace, since: 0 })).toEqual([{ workspace, name: "web", system: "x86_64-linux", version: "1", connected: false, seen: 6, deployment: null }]);
      expect(await db().read("countAgents", { workspace })).toBe(1);
      expect(await db().read("findAgent", { workspace, name: "web" })).toEqual({ id });
      expect(await db().read("findAgent", { workspace, name: "db" })).toBeUndefined();
    });

    test("a deployment goes from pending over its begin to its end, which never changes", async () => {
      const workspace = newCache();
      const agent = await join(workspace, "s1");
      const { id } = await activate(workspace);
      const row = { id, workspace, agent, agentName: "web", number: 1, path: PATH, rollback: { "x86_64-linux": PATH }, closure: null, status: "Pending", created: 10, started: null, finished: null };
      expect(await db().read("getDeployment", { id })).toEqual(row);
      expect(await dispatch(agent, "s1")).toEqual({ deployment: row, system: "x86_64-linux" });
      expect(await begin(id, "another")).toBe(false);
      expect(await begin(id, agent)).toBe(true);
      expect(await begin(id, agent, 77)).toBe(true);
      expect(await begin(id, agent)).toBe(true);
      expect(await end(id, "another", true)).toBe(false);
      expect(await end(id, agent, true)).toBe(true);
      expect(await end(id, agent, false)).toBe(false);
      expect(await begin(id, agent)).toBe(false);
      expect(await db().read("getDeployment", { id })).toEqual({ ...row, closure: 77, status: "Succeeded", started: 200, finished: 300 });
      expect((await db().read("listAgents", { workspace, since: 0 }))[0]!.deployment).toEqual({ id, number: 1, path: PATH, status: "Succeeded" });
    });

    test("an agent that was away gets the newest, and older ones are cancelled", async () => {
      const workspace = newCache();
      const [first, second] = [await activate(workspace), await activate(workspace)];
      expect(second.cancelled).toEqual([first.id]);
      const agent = await join(workspace, "s1");
      expect((await dispatch(agent, "s1"))!.deployment).toMatchObject({ id: second.id, number: 2 });
      // Sent, so it may have begun: it is not cancelled while the agent has this connection.
      const third = await activate(workspace);
      expect(third.cancelled).toEqual([]);
      expect(await dispatch(agent, "s1")).toBeUndefined();
      await join(workspace, "s2");
      expect((await dispatch(agent, "s2"))!.deployment.id).toBe(third.id);
      expect([await status(first.id), await status(second.id), await status(third.id)]).toEqual(["Cancelled", "Cancelled", "Pending"]);
      expect(await begin(second.id, agent)).toBe(false);
    });

    test("one at a time is sent, over the agent's last connection alone, and again when it was not begun", async () => {
      const workspace = newCache();
      const agent = await join(workspace, "s1");
      const { id } = await activate(workspace);
      expect(await work(agent, 0)).toEqual([{ agent, session: "s1", ready: true }]);
      expect(await dispatch(agent, "stale")).toBeUndefined();
      expect((await dispatch(agent, "s1", 100))!.deployment.id).toBe(id);
      expect(await work(agent, 50)).toEqual([{ agent, session: "s1", ready: false }]);
      expect(await dispatch(agent, "s1", 150, 50)).toBeUndefined();
      expect((await dispatch(agent, "s1", 250, 150))!.deployment.id).toBe(id);
      await begin(id, agent);
      const next = await activate(workspace);
      expect(await work(agent, 1_000)).toEqual([{ agent, session: "s1", ready: false }]);
      expect(await dispatch(agent, "s1", 999, 999)).toBeUndefined();
      await end(id, agent, false);
      expect((await dispatch(agent, "s1"))!.deployment.id).toBe(next.id);
    });

    test("of replicas that activate and dispatch at once each agent is told once", async () => {
      const workspace = newCache();
      const agent = await join(workspace, "s1");
      const { replicas } = get();
      await Promise.all(Array.from({ length: 8 }, () => activate(workspace, ["db", "web"])));
      const sent = await Promise.all(Array.from({ length: 8 }, (_, i) => replicas[i % replicas.length]!.write("dispatchDeployment", { agent, session: "s1", resend: 0, now: 100 })));
      expect(sent.filter(Boolean).map((one) => one!.deployment.number)).toEqual([8]);
    });

    test("what runs is lost when its agent was not heard of", async () => {
      const workspace = newCache();
      const [web, database] = [await join(workspace, "s1"), await join(workspace, "s1", "db")];
      const { ids } = await activate(workspace, ["web", "db"]);
      await begin(ids[0]!, web);
      await begin(ids[1]!, database);
      await db().write("hearAgents", { agents: [database, database], now: 900 });
      await db().write("hearAgents", { agents: [], now: 900 });
      const lost = (await db().write("loseDeployments", { before: 500, now: 1_000, line: "[]" })).filter((one) => one.workspace === workspace);
      expect(lost.map(({ id }) => id)).toEqual([ids[0]]);
      expect([await status(ids[0]!), await status(ids[1]!)]).toEqual(["Failed", "InProgress"]);
      expect(await db().read("readDeploymentLog", { id: ids[0]!, after: 0 })).toEqual([{ position: 1, lines: "[]" }]);
      await end(ids[1]!, database, true);
    });

    test("logs keep the order of their writers and have an end", async () => {
      const { id } = await activate(newCache());
      const { replicas } = get();
      const append = (lines: string, room = 100, replica = 0) => replicas[replica % replicas.length]!.write("appendDeploymentLog", { id, lines, room });
      expect(await append("first")).toBe(true);
      expect(await append("sécond", 12)).toBe(true);
      expect(await append("x", 12)).toBe(false);
      expect(await Promise.all(Array.from({ length: 6 }, (_, i) => append(`${i}`, 100, i)))).toEqual(Array.from({ length: 6 }, () => true));
      const all = await db().read("readDeploymentLog", { id, after: 0 });
      expect(all.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(all.slice(0, 2).map(({ lines }) => lines)).toEqual(["first", "sécond"]);
      expect(await db().read("readDeploymentLog", { id, after: 7 })).toEqual([all[7]]);
      expect(await db().write("appendDeploymentLog", { id: "nobody", lines: "x", room: 100 })).toBe(false);
    });

    test("old ones are forgotten with their logs, but not what runs", async () => {
      const workspace = newCache();
      const agent = await join(workspace, "s1");
      const running = await activate(workspace, ["web"], -20);
      await begin(running.id, agent);
      const old = await activate(workspace, ["web"], -20);
      await db().write("appendDeploymentLog", { id: old.id, lines: "x", room: 100 });
      expect(await db().write("pruneDeployments", { before: -10 })).toBe(1);
      expect([await status(old.id), await status(running.id)]).toEqual([undefined, "InProgress"]);
      expect(await db().read("readDeploymentLog", { id: old.id, after: 0 })).toEqual([]);
      await end(running.id, agent, true);
    });
  });
}

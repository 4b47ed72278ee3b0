import { randomUUID } from "node:crypto";
import type { Core } from "../../../core/core.ts";
import { errors } from "../../../core/errors.ts";
import type { NarInfos } from "../narinfos.ts";
import type { NixOptions } from "../options.ts";
import type { Signing } from "../signing.ts";
import { parseBaseName } from "../store-path.ts";
import { agentsKeyName } from "./setup.ts";
import type { DeploySpec } from "./wire.ts";
import type { Member } from "./workspaces.ts";

export interface ActivateParts {
  readonly core: Core;
  readonly options: NixOptions;
  readonly narInfos: NarInfos;
  readonly signing: Signing;
}

/**
 * Writes down what agents are to activate, all of them or none. Returns the deployments' ids by agent.
 * @throws badRequest for an agent there is not, and for a path that agents could not fetch
 */
export async function activate({ core, options, narInfos, signing }: ActivateParts, member: Member, spec: DeploySpec, address: string): Promise<Record<string, string>> {
  const { workspace, grant } = member;
  const names = Object.keys(spec.agents);
  for (const name of names) {
    const known = member.agents.length > 0 ? member.agents.includes(name) : (await core.database.read("findAgent", { workspace, name })) !== undefined;
    if (!known) throw errors.badRequest(`the workspace ${workspace} has no agent ${JSON.stringify(name)}: it has to connect once, or to stand in the workspace's agents`);
  }
  for (const path of new Set([...Object.values(spec.agents), ...Object.values(spec.rollbackScript)])) await assertFetchable(path);

  const now = Date.now();
  const targets = names.map((agent) => {
    const id = randomUUID();
    const audit = { at: now, actor: grant.actor, action: "deploy.activate", cache: grant.cache, keyspace: "", scope: workspace, key: `${agent} ${spec.agents[agent]!} ${id}`, size: 0, result: "ok", address };
    return { agent, agentId: randomUUID(), id, path: spec.agents[agent]!, audit };
  });
  await core.database.write("activateDeployments", { workspace, rollback: { ...spec.rollbackScript }, targets, now });
  for (const { audit } of targets) core.journal.auditLine(audit);
  return Object.fromEntries(targets.map(({ agent, id }) => [agent, id]));

  /** The key that activates has to see the path where agents do, signed with the key they know: what a pull request pushed is not. */
  async function assertFetchable(path: string): Promise<void> {
    const prefix = `${options.storeDir}/`;
    const base = path.startsWith(prefix) ? parseBaseName(path.slice(prefix.length)) : undefined;
    if (!base) throw errors.badRequest(`${JSON.stringify(path.slice(0, 300))} is not a path of the store ${options.storeDir}`);
    const found = await narInfos.find(grant, base.hash);
    if (!found || (await narInfos.read(found.entry)).storePath !== path.slice(prefix.length)) throw errors.badRequest(`${path} is not in the cache ${grant.cache}, as this key reads it; push it first`);
    const signers = await signing.missing(grant.cache, { ...found.record, by: [] });
    if (!signers.some(({ name }) => name === agentsKeyName(options, grant.cache))) throw errors.badRequest(`${path} was pushed by nobody trusted, so agents would not take it`);
  }
}

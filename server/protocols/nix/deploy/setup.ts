import { AGENT_NAME } from "../../../identity/key-options.ts";
import { settingsOf, type NixOptions } from "../options.ts";

/** Says what is wrong with the settings beyond what their schema can say. */
export function deployProblem(options: NixOptions): string | undefined {
  const path = "protocols.nix.deploy";
  const { workspaces, lost, keep } = options.deploy;
  if (Object.keys(workspaces).length > 0 && options.domain === undefined) return `${path}.workspaces: needs protocols.nix.domain, because agents fetch from {cache}.{domain}`;
  if (lost < 60_000 || lost > 86_400_000) return `${path}.lost: expected a duration from 1m to 1d`;
  if (keep < 3_600_000) return `${path}.keep: expected a duration of at least 1h`;
  for (const [name, { cache, agents }] of Object.entries(workspaces)) {
    const wrong = agents.find((agent) => !AGENT_NAME.test(agent));
    if (wrong !== undefined) return `${path}.workspaces.${name}.agents: "${wrong}" is not an agent's name`;
    const { sign } = settingsOf(options, cache);
    if (sign !== "always") return `${path}.workspaces.${name}.cache: agents know this cache's key alone, so protocols.nix.caches.${cache}.sign must be always, not ${sign}`;
  }
  return undefined;
}

/** The name that agents expect the key of a workspace's cache to have (nix.md §3.4); undefined for a cache of no workspace. */
export function agentsKeyName(options: NixOptions, cache: string): string | undefined {
  const used = Object.values(options.deploy.workspaces).some((workspace) => workspace.cache === cache);
  return used && options.domain !== undefined ? `${cache}.${options.domain.toLowerCase()}-1` : undefined;
}

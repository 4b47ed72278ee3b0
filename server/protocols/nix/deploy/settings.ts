import type { Static } from "typebox";
import { duration, kind, list, map, section, text } from "../../../config/fields.ts";
import { NAME } from "../../../config/kinds.ts";

const Workspace = section("Agents that share a cache.", {
  cache: kind(NAME, { description: "What they activate must be in this cache, and they fetch it from there." }),
  agents: list(text({ description: "Name of an agent." }), {
    default: [],
    maxItems: 1000,
    description: "The agents there may be; they may be told something before they first connect. Default: whoever connects with an agent's key.",
  }),
});

/** For `protocols.nix.deploy`. */
export const DeploySettings = section("Cachix Deploy: machines that activate what they are told to. Needs `domain`.", {
  workspaces: map(Workspace, { default: {}, description: "Groups of agents, by name." }),
  lost: duration({ default: "10m", description: "A deployment whose agent is not heard of for so long has failed." }),
  keep: duration({ default: "30d", description: "How long deployments and their logs are kept; one that waits for its agent is forgotten then, too." }),
});

export type DeploySettings = Static<typeof DeploySettings>;

import { env as githubActions } from "../server/protocols/github-actions/client.ts";
import { env as nip } from "../server/protocols/nip/client.ts";
import type { Endpoint } from "../server/protocols/client.ts";
import { modeOf, type Rights } from "./event.ts";
import type { ToolName } from "./inputs.ts";
import type { Env } from "./toolkit.ts";

/** What can be seen of a job before its build runs. */
export interface Surroundings {
  readonly env: Env;
  /** Whether the workspace has a file or directory of this name at its top. */
  readonly has: (name: string) => boolean;
  /** Whether the workspace has a name like this at its top. */
  readonly hasLike: (pattern: RegExp) => boolean;
  /** Whether a program of this name can be run. */
  readonly runs: (program: string) => boolean;
  /** The program and script of Go's helper. */
  readonly goHelper: readonly string[];
}

/** A tool that can be pointed at the cache, most of them by variables alone. */
export interface Tool {
  readonly name: ToolName;
  /** Whether this job uses it, for `tools: auto`. */
  detect(around: Surroundings): boolean;
  env(endpoint: Endpoint, rights: Rights, around: Surroundings): Record<string, string>;
  /** Variables by which a user has pointed it elsewhere: then it is left alone. */
  readonly settings: RegExp;
}

/** The runner forces its own values of these on every action, so nothing can be told from them. */
const NO_SETTING = /^$/;

const gha: Tool = {
  name: "gha",
  // Nothing in `run:` steps would otherwise find a cache service at all.
  detect: () => true,
  env: (endpoint, rights) => ({ ...githubActions(endpoint), ACTIONS_CACHE_MODE: modeOf(rights) }),
  settings: NO_SETTING,
};

const sccache: Tool = {
  name: "sccache",
  detect: ({ env, runs }) => /sccache(\.exe)?$/.test(env["RUSTC_WRAPPER"] ?? env["CMAKE_C_COMPILER_LAUNCHER"] ?? "") || runs("sccache"),
  env: (endpoint, rights, around) => ({ ...gha.env(endpoint, rights, around), SCCACHE_GHA_ENABLED: "on", ...(rights.write ? {} : { SCCACHE_GHA_RW_MODE: "READ_ONLY" }) }),
  // Any storage of its own: sccache knows one at a time.
  settings: /^SCCACHE_(GHA_ENABLED|BUCKET|ENDPOINT|REDIS.*|MEMCACHED.*|GCS_.*|AZURE_.*|WEBDAV_ENDPOINT|OSS_.*|COS_.*|DIR|LOCAL_.*|MULTILEVEL.*)$/,
};

/** BuildKit runs where the runner's loopback can't be reached: it gets attributes as outputs, never variables. */
const docker: Tool = {
  name: "docker",
  detect: ({ has }) => ["Dockerfile", "docker-bake.hcl", "compose.yaml", "compose.yml", "docker-compose.yml"].some(has),
  env: () => ({}),
  settings: NO_SETTING,
};

const nipTool: Tool = {
  name: "nip",
  detect: ({ has, runs }) => [".nip", "nip.toml", "nip.yaml", "nip.yml", "nip.json"].some(has) || runs("nip"),
  env: (endpoint) => nip(endpoint),
  settings: /^NIP_REMOTE_CACHE_(URL|API_KEY|ENABLED)$/,
};

/** go, vet and test start the helper by themselves (Go 1.24 or newer); golangci-lint has a variable of its own and keeps its entries apart. */
const go: Tool = {
  name: "go",
  detect: ({ has }) => ["go.mod", "go.work"].some(has),
  env: ({ url, token }, rights, { goHelper }) => {
    const command = goHelper.map(quoted).join(" ");
    return {
      GOCACHEPROG: command,
      GOLANGCI_LINT_CACHEPROG: `${command} --prefix golangci-lint`,
      STOWHOUSE_GO_SERVER: url.replace(/\/+$/, ""),
      ...(token === undefined ? {} : { STOWHOUSE_GO_TOKEN: token }),
      ...(rights.write ? {} : { STOWHOUSE_GO_READ_ONLY: "true" }),
    };
  },
  settings: /^(GOCACHEPROG|GOLANGCI_LINT_CACHEPROG)$/,
};

/** Its variable names a file that must be made first (nix/setup.ts). It knows many caches, so it is never pointed elsewhere. */
const nix: Tool = {
  name: "nix",
  detect: ({ hasLike, runs }) => hasLike(/\.nix$/) && runs("nix"),
  env: () => ({}),
  settings: NO_SETTING,
};

/** A word of a command line as Go splits it: quotes of one kind, and nothing is escaped. */
function quoted(word: string): string {
  if (!/[\s'"]/.test(word)) return word;
  return word.includes('"') ? `'${word}'` : `"${word}"`;
}

const ALL: readonly Tool[] = [gha, sccache, docker, nipTool, go, nix];

export interface Chosen {
  readonly tools: readonly Tool[];
  /** Wanted, but pointed elsewhere by the user: name and variable. */
  readonly left: readonly (readonly [name: ToolName, variable: string])[];
}

/** The tools to set up: those named or, for `auto`, those the job uses; without those the user has set up. */
export function chooseTools(wanted: "auto" | readonly ToolName[], around: Surroundings): Chosen {
  const candidates = ALL.filter((tool) => (wanted === "auto" ? tool.detect(around) : wanted.includes(tool.name)));
  const setting = (tool: Tool) => Object.keys(around.env).find((name) => tool.settings.test(name) && around.env[name] !== "");
  return {
    tools: candidates.filter((tool) => setting(tool) === undefined),
    left: candidates.flatMap((tool) => {
      const found = setting(tool);
      return found === undefined ? [] : [[tool.name, found] as const];
    }),
  };
}

/** Attributes for `docker buildx build --cache-from/--cache-to`; empty where that direction is not allowed. */
export function buildkit({ url, token }: Endpoint, { read, write }: Rights): { readonly from: string; readonly to: string } {
  const common = `type=gha,version=2,url_v2=${url.replace(/\/+$/, "")}/,token=${token ?? ""}`;
  return { from: read ? common : "", to: write ? `${common},mode=max,ignore-error=true` : "" };
}

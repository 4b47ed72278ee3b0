import path from "node:path";
import { caches } from "./cache-server-caches.ts";
import { dropped, elsewhere, translate, type Draft, type Take } from "./draft.ts";
import type { Theirs } from "./theirs.ts";
import { address, nameLike, text } from "./values.ts";

const DEPLOY = "Cachix Deploy needs a domain, which this file doesn't name";
const PEERS = "there is no DHT: servers that are to be asked are named as upstreams";

/** Every setting of cache-server's file, and what becomes of it; those of its lists are in files of their own. */
export const CACHE_SERVER: Readonly<Record<string, Take>> = {
  "server.hostname": listen,
  "server.server-port": listen,
  "server.database": (value, draft) => {
    draft.set(["data"], path.join(path.dirname(text(value)), "stowhouse"), "beside server.database");
    draft.drop("server.database", "a database of our own is made in the data directory");
  },
  "server.standalone": dropped("server.standalone", PEERS),
  "server.dht-port": dropped("server.dht-port", PEERS),
  "server.dht-bootstrap-host": (value, draft) => {
    draft.drop("server.dht-bootstrap-host", PEERS);
    draft.todo("other servers", `name the caches of ${text(value)} and others under protocols.nix.caches.<name>.upstreams, with their public keys`);
  },
  "server.dht-bootstrap-port": dropped("server.dht-bootstrap-port", PEERS),
  "server.deploy-port": dropped("server.deploy-port", "everything is served on one port"),
  "server.key": (_value, draft) => {
    draft.drop("server.key", "tokens it has signed count no longer");
    draft.todo("tokens", "make a key for each of them with `stowhouse key create NAME --permission write --cache CACHE`: clients use it in its place");
  },
  "server.auto-start": dropped("server.auto-start", "all caches are served"),
  "server.default-retention": elsewhere,
  "server.default-port": elsewhere,
  "server.default-storage": dropped("server.default-storage", "a cache without storages has the one called default"),
  "server.default-storage-strategy": elsewhere,
  caches: (value, draft, theirs) => caches(value, draft, theirs),
  workspaces: (value, draft, theirs) => workspaces(value, theirs.get("agents"), draft),
  agents: (value, draft) => {
    if (Array.isArray(value) && value.length > 0) draft.drop("agents", DEPLOY);
  },
};

/** Where its file says nothing, its own defaults count. */
export function fromCacheServer(theirs: Theirs, draft: Draft): void {
  draft.set(["listen"], "localhost:5000", "cache-server's default");
  translate(theirs, CACHE_SERVER, draft);
  draft.todo("contents", "nothing that is stored is taken over: push it again with `nix copy`, or name the old server as an upstream while it lasts");
}

function listen(_value: unknown, draft: Draft, theirs: Theirs): void {
  const host = text(theirs.get("server.hostname") ?? "localhost");
  draft.set(["listen"], address(host, theirs.get("server.server-port") ?? 5000), "server.hostname, server.server-port");
}

/** A workspace without a domain would keep the server from starting. */
function workspaces(value: unknown, agents: unknown, draft: Draft): void {
  if (!Array.isArray(value) || value.length === 0) return;
  draft.drop("workspaces", DEPLOY);
  for (const item of value as Record<string, unknown>[]) {
    const name = text(item?.["name"]);
    const own = Array.isArray(agents) ? (agents as Record<string, unknown>[]).filter((agent) => agent?.["workspace"] === name).map((agent) => text(agent["name"])) : [];
    draft.todo(
      `workspace ${name}`,
      `set protocols.nix.domain and protocols.nix.deploy.workspaces.${nameLike(name)}: { cache: ${nameLike(text(item["cache"]))}, agents: [${own.join(", ")}] }, and make keys with --deploy-agent and --deploy-activate`,
    );
  }
}

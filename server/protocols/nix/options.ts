import Type, { type Static } from "typebox";
import { flag, integer, kind, list, map, oneOf, optional, section, text } from "../../config/fields.ts";
import { ADDRESS } from "../../config/kinds.ts";
import { DeploySettings } from "./deploy/settings.ts";
import { ProxySettings, Upstreams } from "./upstream/settings.ts";

const HOST = "Domain whose subdomains are caches: with example.com, Nix finds the cache team at https://team.example.com as well.";

const NixCache = section("What Nix's clients get of one cache.", {
  priority: integer(0, 1_000_000, { default: 30, description: "What its nix-cache-info says: clients ask caches with a lower one first (cache.nixos.org has 40)." }),
  listen: optional(kind(ADDRESS, { description: "A port of its own, host:port, with the cache at its root and nothing else. Charts and operator open none; a host name of its own (domain) does without." })),
  keyName: optional(text({ description: "Name of the keys made for it. Default: the cache's name. Clients know a key by its name, so servers used together need different ones." })),
  keyGenerations: optional(list(integer(1, 1_000_000, { description: "Number of a key." }), {
    maxItems: 10,
    description: "Which of its own keys sign; each is made at its first use. Default: 1, or none where signingKeys are given. To change the key: [1, 2], and [2] once all clients know the new one.",
  })),
  signingKeys: list(text({ format: "password", description: "A secret key, as `nix-store --generate-binary-cache-key` writes it." }), {
    default: [],
    maxItems: 10,
    description: "Keys made elsewhere, which sign too.",
  }),
  sign: oneOf(["always", "missing", "never"], { default: "always", description: "Whether what trusted scopes push is signed: always, unless one of trustedKeys has signed it, or never." }),
  trustedKeys: list(text({ description: "A public key, as name:base64." }), {
    default: [],
    maxItems: 100,
    description: "What one of these has signed is as good as pushed by a trusted scope.",
  }),
  conflict: oneOf(["keep", "replace", "refuse"], {
    default: "keep",
    description: "When a store path is pushed again with other contents: keep what is there and say it was stored, replace it, or refuse. Clients remember the first one for a month.",
  }),
  sources: list(Type.Unsafe<string>({ type: "string", pattern: "^(\\*|[a-z0-9][a-z0-9-]{0,62})$", description: "Name of a cache, or * for all of them." }), {
    default: [],
    maxItems: 100,
    description: "Other caches of this server that are asked before the upstreams, in this order. Only what they give to everybody counts: those with anonymousRead.",
  }),
  upstreams: Upstreams,
  requireReferences: flag({ default: false, description: "Whether a path is refused while paths it refers to are not here." }),
});

export const options = section("Binary caches of Nix.", {
  storeDir: text({ default: "/nix/store", description: "Directory of the store whose paths are kept here." }),
  domain: optional(text({ description: HOST })),
  proxy: ProxySettings,
  deploy: DeploySettings,
  caches: map(NixCache, { default: {}, description: "Settings of single caches, by name; other caches have the defaults." }),
});

export type NixCacheSettings = Static<typeof NixCache>;
export type NixOptions = Static<typeof options>;

const DEFAULTS: NixCacheSettings = { priority: 30, signingKeys: [], sign: "always", trustedKeys: [], conflict: "keep", sources: [], upstreams: {}, requireReferences: false };

export function settingsOf(options: NixOptions, cache: string): NixCacheSettings {
  return Object.hasOwn(options.caches, cache) ? options.caches[cache]! : DEFAULTS;
}

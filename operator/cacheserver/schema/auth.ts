import type { TUnsafe } from "typebox";
import { list, oneOf, optional, section, type Field } from "../../../server/config/fields.ts";
import { duration, labelSelector, objectName, ruled, serverFields, string, type Settings } from "../../fields.ts";

const SECRETS = ["adminKey", "writeKey", "readKey", "signingSecret"];
const { rules } = serverFields("auth.github");

const Rules = {
  ...rules,
  items: ruled({ ...(rules as Field).items } as TUnsafe<Settings>, {
    rule: "has(self.repositoryId) || has(self.repositoryOwnerId)",
    message: "expected repositoryId or repositoryOwnerId; names can be taken over by others",
    fieldPath: ".repositoryId",
  }),
} as unknown as TUnsafe<Settings[]>;

export const Auth = section("Credentials: API keys, session tokens and the GitHub identities they are made from. Changes are taken over without a restart.", {
  ...serverFields("auth", [...SECRETS, "github"]),
  keysSecret: optional(section("A Secret of yours with admin-key (needed by the operator), write-key, read-key and signing-secret. Default: one is made, named after this resource with -keys at its end.", {
    name: objectName({ description: "Name of the Secret." }),
  })),
  github: section("Exchange of GitHub's OIDC tokens for session tokens.", { ...serverFields("auth.github", ["rules"]), rules: Rules }),
});

const cacheName = string({ pattern: "^(\\*|[a-z0-9][a-z0-9-]{0,62})$", maxLength: 63, description: "Name of a cache; * stands for all." });
const scope = string({ pattern: "^[a-z0-9][a-z0-9-]{0,62}:.{1,505}$", maxLength: 600, description: "A scope like team:ci; a * at its end stands for any rest." });

export const Access = list(
  section("What CacheKeys in some namespaces may ask for.", {
    namespaceSelector: labelSelector("Labels of those namespaces; an empty selector stands for all of them."),
    caches: list(cacheName, { default: ["default"], maxItems: 100, description: "Caches their keys may be good for." }),
    permissions: list(oneOf(["read", "write"], { description: "A permission; write includes read." }), { default: ["read"], maxItems: 2, description: "What their keys may do." }),
    scopes: list(scope, { default: [], maxItems: 100, description: "Scopes they may name. A key that names none uses its cache's defaultScope, which is always allowed." }),
    maxTTL: optional(duration({ description: "Longest life of a key of theirs: until it expires, or until the overlap after its rotation is over. Default: no limit." })),
  }),
  {
    default: [],
    maxItems: 100,
    description: "Who may have keys by CacheKey. Default: this resource's own namespace, to read the default scope of any cache. Keys beyond what is left here are revoked.",
  },
);

import type { Static } from "typebox";
import { list, oneOf, optional, section } from "../../server/config/fields.ts";
import { Conditions } from "../cacheserver/schema/status.ts";
import { duration, immutable, int64, objectName, ruled, string, time } from "../fields.ts";
import type { KubeObject } from "../object.ts";

const scope = (description: string) => string({ pattern: "^[a-z0-9][a-z0-9-]{0,62}:.{1,505}$", maxLength: 600, description });

export const CacheKeySpecSchema = ruled(
  section("The API key that is wanted.", {
    serverRef: immutable(
      section("The server the key is for.", {
        name: objectName({ description: "Name of the CacheServer." }),
        namespace: optional(objectName({ description: "Its namespace. Default: that of this resource." })),
      }),
      "serverRef can't be changed; make another CacheKey",
    ),
    caches: list(string({ pattern: "^(\\*|[a-z0-9][a-z0-9-]{0,62})$", maxLength: 63, description: "Name of a cache; * stands for all." }), {
      default: ["default"],
      minItems: 1,
      maxItems: 100,
      description: "Caches the key is good for; the first is used where a tool names none.",
    }),
    permission: oneOf(["read", "write"], { default: "read", description: "What the key may do; write includes read." }),
    scope: optional(scope("The scope it writes, and reads unless readScopes says otherwise, like team:ci. Default: the cache's defaultScope.")),
    readScopes: optional(list(scope("A scope like team:ci or 1296269:refs/heads/main."), { minItems: 1, maxItems: 100, description: "Exactly the scopes it reads, in this order. Default: the one it writes." })),
    expiresAfter: optional(duration({ description: "Time from the making of a key to its end. Without rotation the resource has no key from then on. Default: no end." })),
    rotation: optional(section("A new key takes the old one's place now and then.", {
      every: duration({ description: "Time from one key to the next, like 30d." }),
      overlap: duration({ default: "24h", description: "Time for which the old key works on beside the new one, at most 30d." }),
    })),
    secretName: optional(objectName({ description: "Name of the Secret that holds the key. Default: the name of this resource." })),
  }),
  {
    rule: "has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == oldSelf.secretName)",
    message: "secretName can't be changed; make another CacheKey",
    fieldPath: ".secretName",
  },
);

export const CacheKeyStatusSchema = section("What the operator found out.", {
  observedGeneration: optional(int64({ description: "The generation of the spec this status is about." })),
  server: optional(string({ maxLength: 520, description: "The CacheServer, with its namespace." })),
  secretName: optional(objectName({ description: "The Secret that holds the key." })),
  keyId: optional(string({ maxLength: 80, description: "Id of the key on the server." })),
  grant: optional(string({ maxLength: 128, description: "Digest of the rights the key was made with." })),
  issuedAt: optional(time({ description: "When the key was made." })),
  expiresAt: optional(time({ description: "When it ends." })),
  rotatesAt: optional(time({ description: "When a new key takes its place." })),
  previous: optional(list(
    section("A key that was replaced and works on for a while.", {
      keyId: string({ maxLength: 80, description: "Its id on the server." }),
      expiresAt: time({ description: "When it ends." }),
    }),
    { maxItems: 20, description: "Keys that were replaced and still work." },
  )),
  conditions: optional(Conditions),
});

export type CacheKeySpec = Static<typeof CacheKeySpecSchema>;
export type CacheKeyStatus = Static<typeof CacheKeyStatusSchema>;

/** As the API server stores it: defaults filled in, checked by the CRD's schema and rules. */
export interface CacheKey extends KubeObject {
  kind: "CacheKey";
  spec: CacheKeySpec;
  status?: CacheKeyStatus;
}

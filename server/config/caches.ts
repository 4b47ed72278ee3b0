import type { Static } from "typebox";
import { duration, flag, integer, kind, list, map, oneOf, optional, percent, section, size } from "./fields.ts";
import { NAME, SCOPE } from "./kinds.ts";

/** A cache, as the configuration declares it and as the admin API creates it. */
export const CacheSettings = section("A tenant of the server: who uses one cache sees nothing of another.", {
  quota: size({ default: "50GiB", description: "Bytes of all its entries; beyond it the least recently used go." }),
  retention: duration({ default: "30d", description: "An entry that was not used for so long is removed." }),
  untrustedShare: percent({ default: "25%", description: "Part of the quota for what pull requests and other untrusted scopes write." }),
  untrustedIdle: duration({ default: "7d", description: "An entry of an untrusted scope that was not used for so long is removed." }),
  defaultScope: kind(SCOPE, {
    default: "local:main",
    maxLength: 600,
    description: "Scope that API keys without one of their own, public read keys and anonymous readers use.",
  }),
  anonymousRead: flag({ default: false, description: "Whether requests without a credential may read the default scope." }),
  storages: optional(list(kind(NAME, { description: "Name of a storage." }), {
    minItems: 1,
    maxItems: 64,
    description: "Names of the storages that take its new blobs, in order. Default: all.",
  })),
  placement: oneOf(["in-order", "round-robin", "split", "least-used"], {
    default: "in-order",
    description:
      "Which storage takes a new blob: the first with room, each in turn, by shares, or the one with most room.",
  }),
  shares: optional(map(integer(0, 1000, { description: "Weight of this storage among the others." }), {
    description: "Only with placement split: the weight of each storage by name.",
  })),
  entrySize: optional(size({ description: "Largest entry. Default: limits.entrySize." })),
});

type Declared = Static<typeof CacheSettings>;

/** Settings of a cache with nothing left to default: bytes, milliseconds, a fraction. */
export type CacheSettings = Declared & Required<Pick<Declared, "storages" | "entrySize">>;

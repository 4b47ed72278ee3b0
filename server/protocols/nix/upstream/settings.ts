import type { Static } from "typebox";
import { duration, flag, integer, kind, list, map, oneOf, optional, section, size, text } from "../../../config/fields.ts";
import { HTTP_URL } from "../../../config/kinds.ts";

const GLOB = "Of a store path's name without its hash, like nodejs-20.1; * stands for any text.";

const Upstream = section("Another binary cache.", {
  url: kind(HTTP_URL, { description: "Its URL, as it would stand under substituters in nix.conf." }),
  priority: integer(0, 1_000_000, { default: 40, description: "Lower ones are asked first; equal ones in the order of their names." }),
  trustedKeys: list(text({ description: "A public key, as name:base64." }), {
    minItems: 1,
    maxItems: 100,
    description: "What it has must be signed with one of these keys, content-addressed paths as well.",
  }),
  hosts: list(text({ description: "Host, with its port where that is not the usual one." }), {
    default: [],
    maxItems: 100,
    description: "Other hosts that its narinfos may name in absolute URLs of NARs. Credentials are never sent there.",
  }),
  connectTimeout: duration({ default: "5s", description: "Longest time to connect, TLS included." }),
  firstByteTimeout: duration({ default: "10s", description: "Longest time until an answer begins." }),
  stallTimeout: duration({ default: "30s", description: "Longest silence in the middle of an answer." }),
  forbiddenIsMissing: flag({ default: false, description: "Whether its 403 means that it has no such path, as from buckets that can't be listed. Otherwise it is an error." }),
  allow: list(text({ description: GLOB }), { default: [], maxItems: 1000, description: "Only these are taken from it. Default: everything." }),
  deny: list(text({ description: GLOB }), { default: [], maxItems: 1000, description: "These are not taken from it." }),
  credentials: section("What it wants to see; at most one of token, password and netrc.", {
    token: optional(text({ format: "password", description: "Sent as Bearer token." })),
    username: optional(text({ description: "Login for Basic; may be left out where only the password counts." })),
    password: optional(text({ format: "password", description: "Password for Basic." })),
    netrc: optional(text({ description: "A netrc file with an entry for the URL's host; it is read again when it changes." })),
  }),
});

/** For `protocols.nix.caches.<name>.upstreams`. */
export const Upstreams = map(Upstream, { default: {}, description: "Binary caches that are asked for what this cache has not, by name." });

/** For `protocols.nix.proxy`: what all upstreams share. */
export const ProxySettings = section("Asking upstreams.", {
  hedge: duration({ default: "300ms", description: "How long one upstream is waited for before the next is asked as well." }),
  missing: duration({ default: "1m", description: "How long an upstream is not asked again for what it said it has not. Errors are never remembered." }),
  failures: integer(1, 1000, { default: 5, description: "Failures in a row after which an upstream is left alone for a while." }),
  pause: duration({ default: "30s", description: "How long; then one request tries." }),
  spool: optional(text({ description: "Directory for NARs while they arrive. Default: one of the system's for temporary files, which must not be in RAM." })),
  spoolSize: size({ default: "16GiB", description: "Bytes of all NARs that are arriving; further ones have to wait." }),
  abandoned: oneOf(["finish", "cancel"], { default: "finish", description: "What becomes of a NAR that nobody waits for any more while it arrives." }),
});

export type UpstreamSettings = Static<typeof Upstream>;
export type ProxySettings = Static<typeof ProxySettings>;

/** Says what is wrong with settings beyond what their schema can say. @param path of the upstream in the configuration */
export function upstreamProblem(path: string, { connectTimeout, firstByteTimeout, stallTimeout, credentials }: UpstreamSettings): string | undefined {
  const { token, username, password, netrc } = credentials;
  if ([token, password, netrc].filter((one) => one !== undefined).length > 1) return `${path}.credentials: expected at most one of token, password and netrc`;
  if (username !== undefined && password === undefined) return `${path}.credentials.username: needs password`;
  const bounded = { connectTimeout, firstByteTimeout, stallTimeout };
  for (const [name, value] of Object.entries(bounded)) if (value < 10 || value > 3_600_000) return `${path}.${name}: expected a duration from 10ms to 1h`;
  return undefined;
}

/** The same for what all upstreams share. */
export function proxyProblem({ hedge, missing, pause, spoolSize }: ProxySettings): string | undefined {
  const path = "protocols.nix.proxy";
  if (hedge < 1 || hedge > 60_000) return `${path}.hedge: expected a duration from 1ms to 1m`;
  if (missing > 86_400_000) return `${path}.missing: expected a duration from 0 to 1d`;
  if (pause < 100 || pause > 3_600_000) return `${path}.pause: expected a duration from 100ms to 1h`;
  return spoolSize < 1024 * 1024 ? `${path}.spoolSize: expected a size of at least 1MiB` : undefined;
}

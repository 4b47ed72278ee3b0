import { BlockList, isIP, isIPv6 } from "node:net";
import { isCacheName, isScope } from "../core/scope.ts";
import { DURATION, PERCENT, SIZE, type Kind } from "./units.ts";

/** Where a server listens; IPv6 hosts are without brackets. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const HOST_PORT = /^(\[[0-9a-fA-F:.]{2,45}\]|[0-9a-zA-Z.-]{0,253}):([0-9]{1,5})$/;

export const ADDRESS: Kind<Address> = {
  pattern: "^(\\[[0-9a-fA-F:.]{2,45}\\]|[0-9a-zA-Z.-]{0,253}):[0-9]{1,5}$",
  type: "host:port",
  expected: "host:port, like 127.0.0.1:8420 or [::1]:8420",
  parse(value) {
    const [, name, digits] = (typeof value === "string" && HOST_PORT.exec(value)) || [];
    const port = Number(digits);
    if (name === undefined || port > 65_535) return undefined;
    const host = name.startsWith("[") ? name.slice(1, -1) : name || "0.0.0.0";
    return name.startsWith("[") && !isIPv6(host) ? undefined : { host, port };
  },
};

function text(pattern: string, type: string, expected: string, accepts: (value: string) => boolean = () => true): Kind<string> {
  const regexp = new RegExp(pattern, "u");
  return { pattern, type, expected, parse: (value) => (typeof value === "string" && regexp.test(value) && accepts(value) ? value : undefined) };
}

function isHttp(value: string): boolean {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return url !== undefined && url.username === "" && url.password === "" && url.search === "" && url.hash === "";
}

function isCidr(value: string): boolean {
  const [address = "", bits, more] = value.split("/");
  const family = isIP(address);
  return family !== 0 && more === undefined && (bits === undefined || Number(bits) <= (family === 4 ? 32 : 128));
}

/** Names of caches and storages. */
export const NAME = text("^[a-z0-9][a-z0-9-]{0,62}$", "name", "a name of a-z, 0-9 and -, at most 63 characters", isCacheName);
export const NAMED_SCOPE = text("^[a-z][a-z0-9-]{0,62}:[a-zA-Z0-9][a-zA-Z0-9._/-]{0,199}$", "scope", "a scope like team:ci", isScope);
export const SCOPE = text("^[a-z0-9-]{1,63}:.{1,505}$", "scope", "a scope like team:ci or 1296269:refs/heads/main", isScope);
/** Full refs; a `*` at the end stands for any rest. */
export const REFS = text("^refs/[^\\s\\x00-\\x1f\\x7f*]{1,500}\\*?$", "git refs", "a full git ref like refs/heads/main, with * at the end only");
export const BRANCH = text("^[^\\s\\x00-\\x1f\\x7f*]{1,250}$", "branch", "the short name of a branch, like main", (value) => !value.startsWith("refs/"));
export const REPOSITORY = text("^[0-9A-Za-z-]{1,39}/[0-9A-Za-z._-]{1,100}$", "owner/name", "a repository like acme/app");
export const CIDR = text("^[0-9a-fA-F:.]{2,45}(/[0-9]{1,3})?$", "CIDR", "an address or network like 10.0.0.0/8", isCidr);
/** Secrets that are changed without a gap: several, one a line. Resolved to lines without blank ones. */
function lines(one: string, expected: string): Kind<string> {
  // No count of lines here: Go's expressions, which a CRD is checked with, allow a thousand repetitions in all.
  const pattern = `^${one}(\\r?\\n${one})*(\\r?\\n)*$`;
  const regexp = new RegExp(pattern);
  const split = (value: string) => value.split(/\r?\n/).filter((line) => line !== "");
  const fits = (value: unknown): value is string => typeof value === "string" && value.length <= 8192 && regexp.test(value) && split(value).length <= MOST_LINES;
  return { pattern, type: "secret", expected: `${expected}, or up to ${MOST_LINES} such lines`, parse: (value) => (fits(value) ? split(value).join("\n") : undefined) };
}

const MOST_LINES = 10;

/** Fixed API keys: fit for every header and for both halves of Basic. */
export const SECRET_KEYS = lines("[!-9;-~]{8,512}", "8 to 512 visible ASCII characters without a colon");
export const SIGNING_SECRETS = lines("[!-~]{32,512}", "32 to 512 visible ASCII characters");
export const HTTP_URL = text("^https?://[!-~]{1,1000}$", "URL", "an http or https URL without credentials, like https://example.com", isHttp);

/** The origin of a public URL: tools of several protocols expect us at its root. */
export const ORIGIN: Kind<string> = {
  pattern: "^https?://[^/?#@]{1,260}/?$",
  type: "URL",
  expected: "an http or https URL without a path, like https://cache.example.com",
  parse: (value) => (typeof value === "string" && new RegExp(ORIGIN.pattern).test(value) && isHttp(value) ? new URL(value).origin : undefined),
};

const KINDS: readonly Kind<unknown>[] = [
  SIZE, DURATION, PERCENT, ADDRESS, NAME, SCOPE, NAMED_SCOPE, REFS, BRANCH, REPOSITORY, CIDR, SECRET_KEYS, SIGNING_SECRETS, HTTP_URL, ORIGIN,
];

/** The kind a schema means, by its pattern. */
export function kindOf(schema: { pattern?: unknown }): Kind<unknown> | undefined {
  return KINDS.find((kind) => kind.pattern === schema.pattern);
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether a host (without port or brackets) can only be this machine. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  return family === 0 ? host === "localhost" : LOOPBACK.check(host, family === 4 ? "ipv4" : "ipv6");
}

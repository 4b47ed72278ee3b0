import type { Endpoint, ProtocolClient, Purpose, Reading, ToolAnswer, ToolRequest } from "../client.ts";
import { formatCacheInfo } from "./wire.ts";

const TEXT = "text/plain; charset=utf-8";
const MOUNT = "(?:/nix(?:/[a-z0-9][a-z0-9-]{0,62})?)?";
const OURS = new RegExp(`^${MOUNT}/(?:nix-cache-info|pubkey(?:/untrusted)?|[0-9a-df-np-sv-z]{32}\\.(?:narinfo|ls)|nar/[^/]+|log/[^/]+|realisations/[^/]+\\.doi|build-trace-v2/[^/]+/[^/]+\\.doi|debuginfo/[0-9a-f]{40})$`);
const INFO = new RegExp(`^${MOUNT}/nix-cache-info$`);
const LOOKUP = new RegExp(`^${MOUNT}/(?:[0-9a-df-np-sv-z]{32}\\.narinfo|realisations/.*|build-trace-v2/.*)$`);
const DOWNLOAD = new RegExp(`^${MOUNT}/(?:nar|log|debuginfo)/|\\.ls$`);

/** Seconds that Nix waits for a cache before it goes on without. */
const CONNECT_TIMEOUT = 5;
const ATTEMPTS = 2;

export interface NixSetup {
  /** Public keys of the cache, as its /pubkey lists them. */
  readonly publicKeys: readonly string[];
  /** Where the credential stands; needed where the endpoint has a token. */
  readonly netrcFile?: string | undefined;
}

/**
 * Lines for nix.conf. Asked beside the caches that are set up already, never instead of them: a cache's own priority decides
 * the order. What can't be had is built.
 * @param endpoint a cache's URL
 */
export function nixConf(endpoint: Endpoint, setup: NixSetup): string[] {
  const netrc = endpoint.token !== undefined && setup.netrcFile !== undefined ? [`netrc-file = ${setup.netrcFile}`] : [];
  return [
    `extra-substituters = ${endpoint.url.replace(/\/+$/, "")}`, `extra-trusted-public-keys = ${setup.publicKeys.join(" ")}`, ...netrc,
    "fallback = true", `connect-timeout = ${CONNECT_TIMEOUT}`, `download-attempts = ${ATTEMPTS}`,
  ];
}

/** What the netrc file holds for a server: Nix can send nothing but Basic. Undefined without a token. */
export function netrcEntry(endpoint: Endpoint): string | undefined {
  if (endpoint.token === undefined) return undefined;
  return `machine ${new URL(endpoint.url).hostname}\nlogin stowhouse\npassword ${endpoint.token}\n`;
}

/**
 * What keeps a build green when the server is away: a cache which has nothing, and which takes what it is given and drops it.
 * Nix tries errors again for half a minute, and remembers what is missing by the cache's URL, which is the daemon's then.
 */
export function failOpen(method: string, path: string): ToolAnswer {
  const bare = path.split("?", 1)[0]!;
  if (method === "PUT") return { status: 200, type: TEXT, body: "" };
  if (INFO.test(bare) && (method === "GET" || method === "HEAD")) return { status: 200, type: "text/x-nix-cache-info", body: formatCacheInfo("/nix/store", 30) };
  return { status: 404, type: TEXT, body: "" };
}

function purpose({ method, path }: ToolRequest): Purpose {
  if (method === "PUT") return "upload";
  if (method !== "GET" && method !== "HEAD") return "other";
  if (LOOKUP.test(path)) return "lookup";
  return DOWNLOAD.test(path) ? "download" : "other";
}

function read(request: ToolRequest, status: number): Reading | undefined {
  if (status === 404) return { result: "miss" };
  if (status >= 500) return undefined;
  const of = purpose(request);
  const fine = status >= 200 && status < 300;
  if (of === "upload") return { result: fine ? "stored" : "other" };
  return { result: of !== "other" && fine ? "hit" : "other" };
}

export const client: ProtocolClient = { name: "nix", serves: (path) => OURS.test(path), purpose, failOpen, read };

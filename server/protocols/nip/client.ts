import type { Deferred, Endpoint, ProtocolClient, Purpose, Reading, ToolAnswer, ToolRequest } from "../client.ts";
import { CREATED, formatError, formatLookup, HEALTH_PATH, parseLookup } from "./wire.ts";

const JSON_TYPE = "application/json; charset=utf-8";

/** Variables that make nip use a server. @param endpoint without a token nip sends none */
export function env(endpoint: Endpoint): Record<string, string> {
  return {
    NIP_REMOTE_CACHE_URL: endpoint.url.replace(/\/+$/, ""),
    ...(endpoint.token === undefined ? {} : { NIP_REMOTE_CACHE_API_KEY: endpoint.token }),
    NIP_REMOTE_CACHE_ENABLED: "true",
  };
}

/**
 * What keeps a build green when the server is away: reads are misses; health and uploads say the truth, which nip takes as
 * "go on with the local cache".
 */
export function failOpen(method: string, path: string): ToolAnswer & { readonly body: string } {
  const reads = method === "GET" || method === "HEAD";
  const miss = reads && !path.split("?")[0]!.endsWith(HEALTH_PATH);
  return { status: miss ? 404 : 503, type: JSON_TYPE, body: miss ? formatError("not found") : formatError("unavailable") };
}

const ARTIFACT = /^(?:\/nip)?\/v1\/artifacts\/[^/]+$/;
const OURS = /^(?:\/nip)?\/v1\/(?:health$|artifacts(?:$|\/)|download\/)/;
const DOWNLOAD = /^(?:\/nip)?\/v1\/download\//;

function purpose({ method, path }: ToolRequest): Purpose {
  if (method === "POST") return ARTIFACT.test(path) ? "upload" : "other";
  if (DOWNLOAD.test(path)) return "download";
  return OURS.test(path) && !path.endsWith(HEALTH_PATH) ? "lookup" : "other";
}

function read(request: ToolRequest, status: number, body: Buffer | undefined, via: (url: string) => string): Reading | undefined {
  if (status === 404) return { result: ARTIFACT.test(request.path) || !body ? "miss" : "other" };
  if (request.method === "POST") return { result: status === 201 || status === 200 ? "stored" : "other" };
  if (!ARTIFACT.test(request.path) || status !== 200 || !body) return { result: "other" };
  if (request.method === "HEAD") return { result: "hit" };
  const url = parseLookup(body.toString("utf8"));
  return url === undefined ? undefined : { result: "hit", body: formatLookup(via(url)) };
}

const SUBJECT = /^(?:\/nip)?\/v1\/(?:artifacts|download)\/([^/]+)(?:\/metadata)?$/;

const deferred: Deferred = { subject: ({ path }) => SUBJECT.exec(path)?.[1], answer: { status: 201, type: JSON_TYPE, body: CREATED } };

export const client: ProtocolClient = { name: "nip", deferred, serves: (path) => OURS.test(path), purpose, failOpen, read };

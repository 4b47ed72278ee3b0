import type { Endpoint, ProtocolClient, Purpose, Reading, ToolAnswer, ToolRequest } from "../client.ts";
import { BUNDLE, GET_MANY, MOUNT, PUT_MANY } from "./wire.ts";

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json; charset=utf-8";
const ENTRY = /^\/go\/cache\/[0-9a-f]{64}$/;
const CACHER_GET = /^\/go\/(?:action|output)\/[0-9a-f]{64}$/;
const CACHER_PUT = /^\/go\/[0-9a-f]{64}\/[0-9a-f]{64}$/;

/** Variables by which our helper finds a server. */
export function env(endpoint: Endpoint): Record<string, string> {
  return { STOWHOUSE_SERVER: endpoint.url.replace(/\/+$/, ""), ...(endpoint.token === undefined ? {} : { STOWHOUSE_TOKEN: endpoint.token }) };
}

/** What keeps a build green when the server is away: reads miss, what other clients upload is taken and dropped (README.md, status table). */
export function failOpen(method: string, path: string): ToolAnswer {
  const bare = path.split("?")[0]!;
  if (method === "PUT" && CACHER_PUT.test(bare)) return { status: 204, type: TEXT, body: "" };
  if (method === "PUT" && ENTRY.test(bare)) return { status: 200, type: TEXT, body: "" };
  if (purpose({ method, path: bare, type: undefined }) === "download") return { status: 404, type: TEXT, body: "" };
  return { status: 503, type: JSON_TYPE, body: JSON.stringify({ error: { code: "STOW_UNREACHABLE", message: "no cache server answers; the build goes on without" } }) };
}

function purpose({ method, path }: ToolRequest): Purpose {
  if (method === "GET" || method === "HEAD") return ENTRY.test(path) || CACHER_GET.test(path) ? "download" : "other";
  if (method === "POST" && (path === BUNDLE || path === GET_MANY)) return "download";
  return (method === "PUT" && (ENTRY.test(path) || CACHER_PUT.test(path))) || (method === "POST" && path === PUT_MANY) ? "upload" : "other";
}

function read(request: ToolRequest, status: number): Reading | undefined {
  if (status === 404) return { result: "miss" };
  if (status >= 500) return undefined;
  const of = purpose(request);
  if (of === "download") return { result: status === 200 ? "hit" : "other" };
  return { result: of === "upload" && (status === 200 || status === 204) ? "stored" : "other" };
}

export const client: ProtocolClient = { name: "go", serves: (path) => path.startsWith(`${MOUNT}/`), purpose, failOpen, read };

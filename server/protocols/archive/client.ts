import type { Endpoint, Mark, ProtocolClient, Purpose, Reading, ToolAnswer, ToolRequest } from "../client.ts";
import { BASE, FIND, RESERVE } from "./wire.ts";

/** Variables by which the action's restore and save, and the command line, find a server. */
export function env(endpoint: Endpoint): Record<string, string> {
  return { STOWHOUSE_SERVER: endpoint.url, STOWHOUSE_TOKEN: endpoint.token ?? "" };
}

/** The client knows by itself what to do without a server, so it hears the truth: by a status it does not try again. */
export function failOpen(): ToolAnswer {
  const body = JSON.stringify({ error: { code: "STOW_UNREACHABLE", message: "no cache server answers; the build goes on without" } });
  return { status: 504, type: "application/json; charset=utf-8", body };
}

function purpose({ method, path }: ToolRequest): Purpose {
  if (method === "GET" || method === "HEAD") return "download";
  if (path === FIND) return "lookup";
  if (path === RESERVE) return "reserve";
  return path.endsWith("/blobs") ? "upload" : path.endsWith("/commit") ? "commit" : "other";
}

function read({ path }: ToolRequest, status: number, body: Buffer | undefined, _via: (url: string) => string, mark: Mark = (handle) => handle): Reading | undefined {
  const named = path === FIND || path === RESERVE;
  if (status >= 300 || !(named || path.endsWith("/commit"))) return { result: "other" };
  let said: { hit?: boolean; committed?: boolean; id?: number; upload?: string; missing?: unknown };
  try {
    said = JSON.parse(body?.toString("utf8") ?? "") as typeof said;
  } catch {
    return undefined;
  }
  const { hit, committed, id, upload, missing } = said;
  const marked = JSON.stringify({ ...said, ...(id !== undefined && { id: mark(id) }), ...(upload !== undefined && { upload: mark(upload) }) });
  if (path === FIND) return hit ? { result: "hit", body: marked } : { result: "miss" };
  if (path === RESERVE) return { result: committed ? "stored" : "other", body: marked };
  return { result: missing === undefined ? "stored" : "other" };
}

export const client: ProtocolClient = { name: "archive", serves: (path) => path.startsWith(`${BASE}/`), handle: /^\/archive\/v1\/(?:entries|uploads)\/([^/]+)/, purpose, failOpen, read };

import type { Endpoint, Mark, ProtocolClient, Purpose, Reading, ToolAnswer, ToolRequest } from "../client.ts";
import { decode, encode, formatOf, RESPONSES, SERVICE, type CacheResponse, type Method } from "./wire.ts";

const TWIRP = `/twirp/${SERVICE}/`;
const V1 = "/_apis/artifactcache/";
const BLOBS = "/_blob/";
const UNAVAILABLE = "no cache server answers; the build goes on without";

/** Variables that make tools use a server as the cache of GitHub Actions: @actions/cache, BuildKit, sccache and their like. */
export function env(endpoint: Endpoint): Record<string, string> {
  const url = `${endpoint.url.replace(/\/+$/, "")}/`;
  return {
    ACTIONS_CACHE_SERVICE_V2: "true",
    ACTIONS_RESULTS_URL: url,
    ACTIONS_CACHE_URL: url,
    ...(endpoint.token === undefined ? {} : { ACTIONS_RUNTIME_TOKEN: endpoint.token }),
  };
}

/**
 * What keeps a build green when the server is away: look-ups miss, saves are declined with a reason the toolkit prints, and
 * blobs get what nobody tries again (README.md, status table). sccache takes a declined reservation as "read-only" and starts.
 */
export function failOpen(method: string, path: string, type?: string): ToolAnswer {
  const bare = path.split("?")[0]!;
  if (bare.startsWith(BLOBS)) return blobAnswer(method === "GET" || method === "HEAD");
  if (bare.startsWith(V1)) return legacyAnswer(method, bare);
  const format = formatOf(type) ?? "json";
  const message = bare.endsWith("/GetCacheEntryDownloadURL") ? { ok: false } : { ok: false, message: UNAVAILABLE };
  const body = encode(RESPONSES.CreateCacheEntry, format, message);
  return { status: 200, type: format === "json" ? "application/json; charset=utf-8" : "application/protobuf", body };
}

function blobAnswer(reads: boolean): ToolAnswer {
  const code = reads ? "BlobNotFound" : "InsufficientStorage";
  return {
    status: reads ? 404 : 507, type: "application/xml", body: `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${UNAVAILABLE}</Message></Error>`,
    // go-actions-cache dies of an answer without a request id.
    headers: { "x-ms-error-code": code, "x-ms-request-id": "00000000-0000-0000-0000-000000000000" },
  };
}

function legacyAnswer(method: string, path: string): ToolAnswer {
  if (method === "GET" && path === `${V1}cache`) return { status: 204, type: "application/json", body: "" };
  // The toolkit shows the message of a 400, and tries it no second time.
  return { status: 400, type: "application/json; charset=utf-8", body: JSON.stringify({ message: UNAVAILABLE, typeKey: "STOW_UNREACHABLE" }) };
}

const PURPOSES: Record<Method, Purpose> = { GetCacheEntryDownloadURL: "lookup", CreateCacheEntry: "reserve", FinalizeCacheEntryUpload: "commit" };

function purpose({ method, path }: ToolRequest): Purpose {
  if (path.startsWith(TWIRP)) return PURPOSES[path.slice(TWIRP.length) as Method] ?? "other";
  if (path.startsWith(BLOBS)) return method === "PUT" ? "upload" : "download";
  if (path === `${V1}cache`) return "lookup";
  if (path === `${V1}caches`) return method === "POST" ? "reserve" : "other";
  return method === "PATCH" ? "upload" : method === "POST" ? "commit" : "other";
}

function read(request: ToolRequest, status: number, body: Buffer | undefined, via: (url: string) => string, mark: Mark = (handle) => handle): Reading | undefined {
  const { path, type } = request;
  if (path.startsWith(BLOBS)) return { result: "other" };
  if (path.startsWith(V1)) return readLegacy(request, status, body ?? Buffer.alloc(0), via, mark);
  const method = path.slice(TWIRP.length) as Method;
  // Twirp's errors are JSON whatever was asked.
  if (status !== 200 || !RESPONSES[method]) return isObject(body) ? { result: "other" } : undefined;
  const format = formatOf(type) ?? "json";
  let message: Partial<CacheResponse<Method>> & { signedUploadUrl?: string; signedDownloadUrl?: string };
  try {
    message = decode(RESPONSES[method], format, body ?? Buffer.alloc(0));
    if (message.signedUploadUrl) message.signedUploadUrl = via(message.signedUploadUrl);
    if (message.signedDownloadUrl) message.signedDownloadUrl = via(message.signedDownloadUrl);
  } catch {
    return undefined;
  }
  // An answer that says yes without a URL is broken.
  if (message.ok && method !== "FinalizeCacheEntryUpload" && !message.signedUploadUrl && !message.signedDownloadUrl) return undefined;
  const result = method === "GetCacheEntryDownloadURL" ? (message.ok ? "hit" : "miss") : method === "FinalizeCacheEntryUpload" && message.ok ? "stored" : "other";
  return { result, body: encode(RESPONSES[method], format, message as never) };
}

function readLegacy({ method, path }: ToolRequest, status: number, body: Buffer, via: (url: string) => string, mark: Mark): Reading | undefined {
  if (path === `${V1}cache` && status === 204) return { result: "miss" };
  try {
    if (path === `${V1}cache` && status === 200) {
      const found = JSON.parse(body.toString("utf8")) as { archiveLocation: string };
      return { result: "hit", body: JSON.stringify({ ...found, archiveLocation: via(found.archiveLocation) }) };
    }
    if (path === `${V1}caches` && status === 201) {
      const { cacheId } = JSON.parse(body.toString("utf8")) as { cacheId: number };
      return { result: "other", body: JSON.stringify({ cacheId: mark(cacheId) }) };
    }
  } catch {
    return undefined;
  }
  return { result: method === "POST" && status === 204 ? "stored" : "other" };
}

function isObject(body: Buffer | undefined): boolean {
  try {
    const value: unknown = JSON.parse(body?.toString("utf8") ?? "");
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}

export const client: ProtocolClient = { name: "github-actions", serves: (path) => path.startsWith(TWIRP) || path.startsWith(BLOBS) || path.startsWith(V1), handle: /^\/_apis\/artifactcache\/caches\/(\d+)$/, purpose, failOpen, read };

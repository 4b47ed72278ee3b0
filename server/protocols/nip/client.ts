import { formatError, HEALTH_PATH } from "./wire.ts";

/** Variables that make nip use a server. @param token an API key or a session token; without it nip sends none */
export function env(endpoint: { readonly url: string; readonly token?: string | undefined }): Record<string, string> {
  return {
    NIP_REMOTE_CACHE_URL: endpoint.url.replace(/\/+$/, ""),
    ...(endpoint.token === undefined ? {} : { NIP_REMOTE_CACHE_API_KEY: endpoint.token }),
    NIP_REMOTE_CACHE_ENABLED: "true",
  };
}

export interface FailOpen {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/**
 * What keeps a build green when the server is away: reads are misses; health and uploads say the truth, which nip takes as
 * "go on with the local cache".
 */
export function failOpen(method: string, path: string): FailOpen {
  const reads = method === "GET" || method === "HEAD";
  const miss = reads && !path.split("?")[0]!.endsWith(HEALTH_PATH);
  return { status: miss ? 404 : 503, type: "application/json; charset=utf-8", body: miss ? formatError("not found") : formatError("unavailable") };
}

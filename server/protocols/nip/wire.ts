/** Paths and bodies of nip's remote cache (build-tools.md §9), for the server and for clients. Pure. */

/** The path of an artifact: `GET` looks it up, `POST` stores it. */
export function artifactPath(key: string): string {
  return `/v1/artifacts/${encodeURIComponent(key)}`;
}

export function metadataPath(key: string): string {
  return `${artifactPath(key)}/metadata`;
}

export function downloadPath(key: string): string {
  return `/v1/download/${encodeURIComponent(key)}`;
}

export const HEALTH_PATH = "/v1/health";
export const LIST_PATH = "/v1/artifacts";

/** On answers with metadata: SHA-256 (hex) of the artifact it belongs to. */
export const DIGEST_HEADER = "x-stowhouse-digest";

export function formatLookup(downloadUrl: string): string {
  return JSON.stringify({ downloadUrl });
}

/** The download URL of a look-up's answer, or undefined when it holds none. */
export function parseLookup(text: string): string | undefined {
  const url = (parse(text) as { downloadUrl?: unknown } | null)?.downloadUrl;
  return typeof url === "string" && url !== "" ? url : undefined;
}

/** One line of a list of artifacts; times in ms. */
export interface Listed {
  readonly key: string;
  readonly size: number;
  readonly created: number;
  readonly accessed: number;
}

export interface ListPage {
  readonly artifacts: readonly Listed[];
  /** Where the next page begins; null on the last. */
  readonly next: string | null;
}

export function formatList(page: ListPage): string {
  const artifacts = page.artifacts.map(({ key, size, created, accessed }) => ({ key, size, created: iso(created), accessed: iso(accessed) }));
  return JSON.stringify({ artifacts, next: page.next });
}

/** Undefined for anything that is not a list, as servers answer that have none. */
export function parseList(text: string): ListPage | undefined {
  const page = parse(text) as { artifacts?: unknown; next?: unknown } | null;
  if (!Array.isArray(page?.artifacts)) return undefined;
  const artifacts = page.artifacts.flatMap((item: unknown) => {
    const { key, size, created, accessed } = (item ?? {}) as Record<string, unknown>;
    return typeof key === "string" && typeof size === "number" ? [{ key, size, created: Date.parse(String(created)), accessed: Date.parse(String(accessed)) }] : [];
  });
  return { artifacts, next: typeof page.next === "string" ? page.next : null };
}

export const CREATED = JSON.stringify({ status: "created" });
export const HEALTHY = JSON.stringify({ status: "ok" });

/** The reference server's two errors, and what we say where it has none. */
export function formatError(error: string, code?: string, message?: string): string {
  return JSON.stringify({ error, code, message });
}

/** A form's bytes around the file, which is streamed between them: their lengths make the Content-Length known. */
export function uploadForm(boundary: string, metadata: string): { readonly type: string; readonly before: Buffer; readonly after: Buffer } {
  const part = (head: string) => `--${boundary}\r\nContent-Disposition: form-data; ${head}\r\n\r\n`;
  return {
    type: `multipart/form-data; boundary=${boundary}`,
    before: Buffer.from(
      // Metadata first: a server refuses what is wrong with it before the file is sent.
      `${part('name="metadata"')}${metadata}\r\n${part('name="file"; filename="artifact.tar.gz"\r\nContent-Type: application/gzip')}`,
    ),
    after: Buffer.from(`\r\n--${boundary}--\r\n`),
  };
}

/**
 * What a look-up's answer means for a client of `base`. A server behind a path prefix it does not know of answers a path
 * without it. Undefined when it is no URL to download from.
 */
export function resolveDownload(base: string, downloadUrl: string): URL | undefined {
  const root = new URL(base.endsWith("/") ? base : `${base}/`);
  const prefix = root.pathname.slice(0, -1);
  const within = !downloadUrl.startsWith("/") || downloadUrl.startsWith("//") || downloadUrl.startsWith(`${prefix}/`);
  const url = URL.parse(within ? downloadUrl : prefix + downloadUrl, root.href);
  return url && (url.protocol === "http:" || url.protocol === "https:") ? url : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

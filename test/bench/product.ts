import type { Subject } from "./processes.ts";

export type Product = Subject & { key: string };

/** Stores bytes through nip's upload route. */
export async function nipPut(server: Product, name: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
  const form = new FormData();
  form.append("file", new Blob([body]), "artifact.tar.gz");
  form.append("metadata", "{}");
  const response = await fetch(`${server.url}/v1/artifacts/${name}`, { method: "POST", body: form, headers: { authorization: `Bearer ${server.key}` } });
  if (response.status !== 201) throw new Error(`nip upload: ${response.status} ${await response.text()}`);
}

async function twirp(server: Product, method: string, request: object): Promise<Record<string, string>> {
  const response = await fetch(`${server.url}/twirp/github.actions.results.api.v1.CacheService/${method}`, {
    method: "POST", body: JSON.stringify(request), headers: { authorization: `Bearer ${server.key}`, "content-type": "application/json" },
  });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${method}: ${response.status} ${text}`);
  return JSON.parse(text) as Record<string, string>;
}

const VERSION = "0".repeat(64);

/** Reserves a name and returns the signed URL to PUT to. */
export async function reserve(server: Product, key: string): Promise<string> {
  return (await twirp(server, "CreateCacheEntry", { key, version: VERSION }))["signed_upload_url"]!;
}

/** Stores bytes as a cache entry and returns the signed path to GET it from. */
export async function ghaPut(server: Product, key: string, body: Uint8Array<ArrayBuffer>): Promise<string> {
  const url = await reserve(server, key);
  const put = await fetch(url, { method: "PUT", body, headers: { "x-ms-blob-type": "BlockBlob" } });
  if (put.status !== 201) throw new Error(`blob upload: ${put.status} ${await put.text()}`);
  await twirp(server, "FinalizeCacheEntryUpload", { key, version: VERSION, size_bytes: String(body.length) });
  const found = await twirp(server, "GetCacheEntryDownloadURL", { key, version: VERSION, restore_keys: [] });
  const signed = new URL(found["signed_download_url"]!);
  return signed.pathname + signed.search;
}

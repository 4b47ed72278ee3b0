import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LightMyRequestResponse } from "fastify";
import { buildApp, defaultConfig, type Stowhouse } from "../../app.ts";
import { Log } from "../../http/log.ts";
import { githubActions } from "./index.ts";
import { V1_BASE } from "./v1.ts";
import { decode, encode, REQUESTS, RESPONSES, SERVICE, type CacheRequest, type CacheResponse, type Method } from "./wire.ts";

/** A server with this protocol alone, in a directory of its own, and what its clients do. */
export interface GhaServer extends Stowhouse {
  readonly write: string;
  readonly read: string;
  stop(): Promise<void>;
}

/** @param settings configuration on top of the defaults */
export async function startGha(settings: Record<string, unknown> = {}): Promise<GhaServer> {
  const data = mkdtempSync(join(tmpdir(), "stowhouse-gha-"));
  const server = await buildApp(defaultConfig({ data, ...settings }), { log: new Log("silent"), protocols: [githubActions] });
  const key = async (permission: "read" | "write") => (await server.identity.keys.create({ name: permission, permission })).key;
  return {
    ...server,
    write: await key("write"),
    read: await key("read"),
    stop: async () => {
      await server.close();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

export const VERSION = "03a1cc8d6fe2b9a32e5ba5b9e6d4a2f0b0a1c2d3e4f5061728394a5b6c7d8e9f";

/** One client: a server and a credential. */
export class Client {
  readonly #server: GhaServer;
  readonly #token: string | undefined;
  readonly #prefix: string;

  constructor(server: GhaServer, token: string | undefined, prefix = "") {
    this.#server = server;
    this.#token = token;
    this.#prefix = prefix;
  }

  send(method: string, url: string, headers: Record<string, string> = {}, payload?: string | Buffer): Promise<LightMyRequestResponse> {
    const authorization = this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
    return this.#server.app.inject({ method: method as "GET", url: this.#prefix + url, headers: { host: "cache.example", ...authorization, ...headers }, ...(payload !== undefined && { payload }) });
  }

  twirp<M extends Method>(method: M, message: Partial<CacheRequest<M>>): Promise<LightMyRequestResponse> {
    return this.send("POST", `/twirp/${SERVICE}/${method}`, { "content-type": "application/json" }, encode(REQUESTS[method], "json", message as never) as string);
  }

  async protobuf<M extends Method>(method: M, message: Partial<CacheRequest<M>>): Promise<CacheResponse<M>> {
    const body = Buffer.from(encode(REQUESTS[method], "protobuf", message as never) as Uint8Array);
    const response = await this.send("POST", `/twirp/${SERVICE}/${method}`, { "content-type": "application/protobuf" }, body);
    if (response.headers["content-type"] !== "application/protobuf") throw new Error(`${response.statusCode} ${response.body}`);
    return decode(RESPONSES[method], "protobuf", response.rawPayload) as CacheResponse<M>;
  }

  /** Reserves a key; the path and query of the URL it is put to. */
  async reserve(key: string, version = VERSION): Promise<string> {
    const { ok, signed_upload_url: url } = (await this.twirp("CreateCacheEntry", { key, version })).json<{ ok: boolean; signed_upload_url: string }>();
    if (!ok) throw new Error(`${key} was not reserved`);
    return pathOf(url);
  }

  /** Signed URLs are followed without any credential, as all clients do. */
  put(url: string, payload: string | Buffer, headers: Record<string, string> = { "x-ms-blob-type": "BlockBlob" }): Promise<LightMyRequestResponse> {
    return this.#server.app.inject({ method: "PUT", url, headers: { host: "cache.example", ...headers }, payload });
  }

  block(url: string, id: string, payload: string | Buffer): Promise<LightMyRequestResponse> {
    return this.put(`${url}&comp=block&blockid=${encodeURIComponent(blockName(id))}`, payload, {});
  }

  blockList(url: string, ...ids: string[]): Promise<LightMyRequestResponse> {
    return this.put(`${url}&comp=blocklist`, blockListXml(ids), { "content-type": "application/xml" });
  }

  finalize(key: string, size: number, version = VERSION): Promise<LightMyRequestResponse> {
    return this.twirp("FinalizeCacheEntryUpload", { key, version, sizeBytes: size });
  }

  async save(key: string, body: string | Buffer, version = VERSION): Promise<void> {
    await this.put(await this.reserve(key, version), body);
    const done = await this.finalize(key, Buffer.byteLength(body), version);
    if (!done.json<{ ok: boolean }>().ok) throw new Error(`${key} was not saved: ${done.body}`);
  }

  async lookup(key: string, restoreKeys: string[] = [], version = VERSION): Promise<{ key: string; url: string } | undefined> {
    const response = await this.twirp("GetCacheEntryDownloadURL", { key, restoreKeys, version });
    const { ok, matched_key, signed_download_url } = response.json<{ ok: boolean; matched_key: string; signed_download_url: string }>();
    return ok ? { key: matched_key, url: pathOf(signed_download_url) } : undefined;
  }

  download(url: string, headers: Record<string, string> = {}, method: "GET" | "HEAD" = "GET"): Promise<LightMyRequestResponse> {
    return this.#server.app.inject({ method, url, headers: { host: "cache.example", ...headers } });
  }

  /** What a restore of the key gets: the body, or undefined. */
  async restore(key: string, restoreKeys: string[] = [], version = VERSION): Promise<string | undefined> {
    const found = await this.lookup(key, restoreKeys, version);
    return found && (await this.download(found.url)).body;
  }

  v1(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
    const type: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    return this.send(method, `${V1_BASE}/${path}`, { accept: "application/json;api-version=6.0-preview.1", ...type, ...headers }, body === undefined ? undefined : JSON.stringify(body));
  }
}

export const blockName = (id: string) => Buffer.from(id.padEnd(8)).toString("base64");

export function blockListXml(ids: readonly string[], source = "Latest"): string {
  return `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((id) => `<${source}>${blockName(id)}</${source}>`).join("")}</BlockList>`;
}

export function pathOf(url: string): string {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

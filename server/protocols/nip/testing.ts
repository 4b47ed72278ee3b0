import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildApp, defaultConfig, type Stowhouse } from "../../app.ts";
import { Log } from "../../http/log.ts";
import type { KeyOptions } from "../../identity/key-options.ts";
import { nip } from "./index.ts";

/** A server on loopback with nip alone, in a directory of its own, and keys for it. */
export interface NipServer extends Stowhouse {
  readonly url: string;
  readonly data: string;
  readonly write: string;
  readonly read: string;
  key(options: Omit<KeyOptions, "name">): Promise<string>;
  /** @param key sent as Bearer token; none when empty */
  fetch(path: string, key?: string, init?: RequestInit): Promise<Response>;
  post(path: string, key: string, body: FormBody): Promise<Response>;
  stop(): Promise<void>;
}

/** @param settings configuration on top of the defaults */
export async function startNip(settings: Record<string, unknown> = {}): Promise<NipServer> {
  const data = mkdtempSync(join(tmpdir(), "stowhouse-nip-"));
  const server = await buildApp(defaultConfig({ data, ...settings }), { log: new Log("silent"), protocols: [nip] });
  await server.app.listen({ host: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${(server.app.server.address() as AddressInfo).port}`;
  const key = async (options: Omit<KeyOptions, "name">) => (await server.identity.keys.create({ name: "test", ...options })).key;
  const call: NipServer["fetch"] = (path, bearer = "", init = {}) => {
    const headers = new Headers(init.headers);
    if (bearer !== "") headers.set("authorization", `Bearer ${bearer}`);
    return fetch(url + path, { redirect: "manual", ...init, headers });
  };
  return {
    ...server, url, data, key,
    write: await key({ permission: "write" }),
    read: await key({ permission: "read" }),
    fetch: call,
    post: (path, bearer, { type, bytes }) => call(path, bearer, { method: "POST", body: new Uint8Array(bytes), headers: { "content-type": type } }),
    stop: async () => {
      await server.close();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

export interface FormPart {
  readonly name: string;
  readonly data: Buffer | string;
  readonly filename?: string;
}

export interface FormBody {
  readonly type: string;
  readonly bytes: Buffer;
}

/** A form as curl writes it. */
export function form(...parts: readonly FormPart[]): FormBody {
  const boundary = "------------------------d74496d66958873e";
  const pieces = parts.flatMap(({ name, data, filename }) => [
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${filename === undefined ? "" : `; filename="${filename}"`}\r\n\r\n`, data, "\r\n",
  ]);
  return { type: `multipart/form-data; boundary=${boundary}`, bytes: Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece as string))) };
}

export const file = (data: Buffer | string): FormPart => ({ name: "file", filename: "artifact.tar.gz", data });
export const metadata = (data: string): FormPart => ({ name: "metadata", data });
/** The form nip sends. */
export const upload = (data: Buffer | string, about: unknown = { name: "vim" }): FormBody => form(file(data), metadata(JSON.stringify(about)));

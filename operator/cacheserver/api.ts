import type { Context } from "../context.ts";
import type { KubeObject } from "../object.ts";
import { serviceUrl } from "../resources/urls.ts";
import { fieldOf, linesOf } from "../secret.ts";
import { ServerApi } from "../server-api.ts";
import type { CacheServer } from "./schema.ts";

/**
 * The admin API of a server, as the operator reaches it.
 * @param tls the Secret with its certificate, where it has one
 * @param timeout of each request, ms
 */
export function apiOf(context: Context, server: CacheServer, keys: KubeObject | undefined, tls: KubeObject | undefined, timeout?: number): ServerApi {
  const url = serviceUrl(server, context.settings);
  // The server's own, not those above it: an authority may have certified others too. For a minute after a renewal pods have
  // the one before; that is waited out as any silence.
  const [trusted] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(fieldOf(tls, "tls.crt") ?? "") ?? [];
  const address = { url: context.urlOf?.(server, url) ?? url, adminKeys: linesOf(keys, "admin-key"), ...(trusted === undefined ? {} : { trusted }) };
  return new ServerApi(address, context.send, timeout);
}

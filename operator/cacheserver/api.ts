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
  // Whoever holds the key of this very certificate is the server; with ca.crt also while pods still have the one before.
  const trusted = [fieldOf(tls, "tls.crt"), fieldOf(tls, "ca.crt")].filter((pem) => pem !== undefined).join("\n");
  const address = { url: context.urlOf?.(server, url) ?? url, adminKeys: linesOf(keys, "admin-key"), ...(trusted === "" ? {} : { trusted }) };
  return new ServerApi(address, context.send, timeout);
}

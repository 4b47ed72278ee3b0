import type { CacheServer } from "../cacheserver/schema.ts";
import { INSTANCE, labelsOf, MANAGED_BY, ownedBy } from "../labels.ts";
import { MANAGER, type Metadata } from "../object.ts";
import { imageOf } from "./image.ts";
import type { Inputs } from "./inputs.ts";

type Texts = Readonly<Record<string, string>> | undefined;

/** How a server's pods are found. Deployments keep their selector for life: these never change. */
export function selectorLabels(server: CacheServer): Record<string, string> {
  return { "app.kubernetes.io/name": "stowhouse", [INSTANCE]: server.metadata.name, "app.kubernetes.io/component": "server" };
}

/** The same, as the scale subresource has it. */
export function selectorText(server: CacheServer): string {
  return Object.entries(selectorLabels(server)).map(([name, value]) => `${name}=${value}`).join(",");
}

/** Labels of pods: without the version, so that an operator's upgrade alone rolls no pods whose image stays. */
export function podLabels(server: CacheServer): Record<string, string> {
  return { ...selectorLabels(server), [MANAGED_BY]: MANAGER };
}

/** Metadata of an object of a server, with labels and annotations of its user's; ours win. */
export function metadata(server: CacheServer, inputs: Inputs, words: { suffix?: string; labels?: Texts; annotations?: Texts; owned?: boolean } = {}): Metadata {
  const { suffix = "", labels, annotations, owned = true } = words;
  const version = imageOf(server, inputs).version;
  return {
    name: `${server.metadata.name}${suffix}`,
    namespace: server.metadata.namespace!,
    labels: { ...labels, ...labelsOf(server), ...selectorLabels(server), ...(version === "" ? {} : { "app.kubernetes.io/version": version }) },
    ...(annotations === undefined || Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }),
    ...(owned ? { ownerReferences: [ownedBy(server)] } : {}),
  };
}

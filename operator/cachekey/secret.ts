import { labelsOf, ownedBy } from "../labels.ts";
import type { KubeObject } from "../object.ts";
import { encode } from "../secret.ts";
import type { CacheKey } from "./schema.ts";
import { STATE, type KeyState } from "./state.ts";

export function secretNameOf({ metadata, spec }: CacheKey): string {
  return spec.secretName ?? metadata.name;
}

/**
 * The Secret of a CacheKey, as it is applied. Without a token all its fields stay, empty: builds that take them from there
 * start all the same, and go on without a cache.
 */
export function secretFor(key: CacheKey, endpoint: string, token: string | undefined, state: KeyState | undefined): KubeObject {
  const { namespace } = key.metadata;
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: secretNameOf(key),
      namespace: namespace!,
      labels: { ...labelsOf(key), "app.kubernetes.io/component": "key" },
      annotations: state === undefined ? {} : { [STATE]: JSON.stringify(state) },
      ownerReferences: [ownedBy(key)],
    },
    type: "Opaque",
    data: encode(forms(key, endpoint, token ?? "")),
  };
}

/** The same in the forms that tools take. */
function forms({ spec }: CacheKey, endpoint: string, token: string): Record<string, string> {
  return {
    server: endpoint,
    token,
    STOWHOUSE_SERVER: endpoint,
    STOWHOUSE_TOKEN: token,
    netrc: token && `machine ${new URL(endpoint).hostname}\nlogin stowhouse\npassword ${token}\n`,
    bazelrc: token && bazelrc(endpoint, spec, token),
  };
}

function bazelrc(endpoint: string, { caches: [cache = "default"], permission }: CacheKey["spec"], token: string): string {
  const place = cache === "*" ? "" : `/c/${cache}`;
  return `build --remote_cache=${endpoint}${place}/bazel\nbuild "--remote_header=Authorization=Bearer ${token}"\nbuild --remote_upload_local_results=${permission === "write"}\n`;
}

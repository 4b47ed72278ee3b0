import type { Document } from "../document.ts";
import { LISTINGS, LOGS, REALISATIONS } from "../keyspaces.ts";
import { formatRealisation, idText, MAX_REALISATION, parseRealisation, realisationFingerprint, type Realisation, type RealisationId } from "../realisation.ts";
import type { Signing } from "../signing.ts";
import { parseBaseName } from "../store-path.ts";
import { WireError } from "../../wire.ts";
import type { Wanted } from "./documents.ts";
import { UpstreamFailure } from "./failure.ts";
import type { Narinfos } from "./narinfos.ts";

/** Longest listing and log that is taken from an upstream, bytes. */
export const MAX_PULLED = 16 * 1024 * 1024;

/** One of an upstream's keys must have signed it; then the cache's own may. */
export function wantedRealisation(id: RealisationId, cache: string, narinfos: Narinfos, signing: Signing): Wanted {
  const path = id.form === "hash" ? `realisations/${encoded(id.id)}.doi` : `build-trace-v2/${encoded(id.drvPath)}/${encoded(id.outputName)}.doi`;
  return {
    keyspace: REALISATIONS, key: idText(id), path, limit: MAX_REALISATION,
    judge: async (upstream, body) => {
      const realisation = parsed(body, id);
      const text = realisationFingerprint(realisation);
      if (!narinfos.vouches(upstream, text, realisation.signatures)) return undefined;
      const { signatures, vouched } = await signing.sign(cache, true, text, realisation.signatures);
      return { body: Buffer.from(formatRealisation({ ...realisation, signatures })), metadata: vouched };
    },
  };
}

/** Listings and logs, which nobody signs. Undefined for what can't come from elsewhere: debug information names NARs by the URLs of where it lies. */
export function wantedDocument({ keyspace }: Document, key: string, narinfos: Narinfos): Wanted | undefined {
  if (keyspace === LISTINGS) {
    const judge: Wanted["judge"] = (_upstream, body) => {
      if (!/^\s*\{/.test(body.toString("latin1", 0, 100))) throw new UpstreamFailure("invalid", "its answer is no listing");
      return { body, metadata: {} };
    };
    return { keyspace, key, path: `${key}.ls`, limit: MAX_PULLED, judge };
  }
  if (keyspace !== LOGS) return undefined;
  const name = parseBaseName(key)!.name.replace(/\.drv$/, "");
  return { keyspace, key, path: `log/${encoded(key)}`, limit: MAX_PULLED, judge: (upstream, body) => (narinfos.wants(upstream, name) ? { body, metadata: {} } : undefined) };
}

function parsed(body: Buffer, id: RealisationId): Realisation {
  try {
    return parseRealisation(body.toString("utf8"), id);
  } catch (error) {
    throw error instanceof WireError ? new UpstreamFailure("invalid", `its realisation is not valid: ${error.message}`) : error;
  }
}

/** Caches that lie in files and buckets know `:` and `!` only as they are. */
function encoded(name: string): string {
  return encodeURIComponent(name).replaceAll("%3A", ":");
}

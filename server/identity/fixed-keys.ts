import { createHmac } from "node:crypto";
import { errors } from "../core/errors.ts";
import type { KeyRecord } from "../database/operations/keys.ts";
import { hashKey } from "./key-format.ts";
import { keyRights } from "./key-options.ts";

/**
 * Keys of the configuration (design §10), each setting one key a line: while a key is changed, both work. The setting decides
 * what a key may do, not its prefix.
 */
export interface FixedKeys {
  readonly admin?: string | undefined;
  readonly write?: string | undefined;
  readonly read?: string | undefined;
}

const SHAPE = /^[\x21-\x7e]{8,512}$/;

/**
 * Records of the fixed keys; they live in RAM only. The id holds a mark of the key itself (`config-write-1f3a9c2b`):
 * when the setting changes, sessions and signed URLs of the old key end with it. The mark is keyed by a secret of the
 * server, because a short key could be guessed from a plain hash.
 * @throws config
 */
export function fixedKeys(keys: FixedKeys, secret: string): KeyRecord[] {
  const records: KeyRecord[] = [];
  for (const permission of ["admin", "write", "read"] as const) {
    for (const key of new Set(keys[permission]?.split("\n"))) {
      if (!SHAPE.test(key)) throw errors.config(`auth.${permission}Key: expected 8 to 512 visible ASCII characters`);
      const hash = hashKey(key);
      const same = records.find((record) => record.hash === hash);
      if (same) throw errors.config(`auth.${permission}Key: expected a key of its own, but it equals auth.${same.permission}Key`);
      const mark = createHmac("sha256", secret).update(hash).digest("hex").slice(0, 8);
      const rights = keyRights({ name: `${permission} key of the configuration`, permission }, 0);
      records.push({ ...rights, id: `config-${permission}-${mark}`, hash, created: 0, used: null, revoked: null });
    }
  }
  return records;
}

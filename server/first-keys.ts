import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Stowhouse } from "./app.ts";
import type { Config } from "./config.ts";

/** The keys a first start makes, readable by the owner alone; a shell and the CLI read it. */
export const KEYS_FILE = "keys.env";

const PREFIX = "first ";

export interface FirstKeys {
  readonly admin: string;
  readonly write: string;
  readonly read: string;
}

/**
 * Makes an admin, a write and a read key when nobody has made any yet, and keeps them in a file. Of several replicas, one
 * does. Undefined when there are keys already.
 */
export async function firstKeys(server: Stowhouse, config: Config): Promise<FirstKeys | undefined> {
  const { adminKey, writeKey, readKey } = config.auth;
  if (adminKey ?? writeKey ?? readKey) return undefined;
  const file = join(config.data, KEYS_FILE);
  if (!(await nobodyHasKeys(server, file))) return undefined;
  const { keys } = server.identity;
  const admin = (await keys.create({ name: `${PREFIX}admin key`, permission: "admin", caches: ["*"] })).key;
  const write = (await keys.create({ name: `${PREFIX}write key`, permission: "write", caches: ["default"] })).key;
  const read = (await keys.create({ name: `${PREFIX}read key`, permission: "read", caches: ["default"] })).key;
  writeFileSync(file, `STOWHOUSE_ADMIN_KEY=${admin}\nSTOWHOUSE_WRITE_KEY=${write}\nSTOWHOUSE_READ_KEY=${read}\n`, { mode: 0o600, flush: true });
  return { admin, write, read };
}

async function nobodyHasKeys(server: Stowhouse, file: string): Promise<boolean> {
  const { identity, core } = server;
  const known = await identity.keys.list({ limit: 4 });
  if (core.database.shared) {
    if (known.length > 0) return false;
    const mine = Math.random().toString(36);
    return (await core.database.write("secret", { name: "first-keys", candidate: mine, now: Date.now() })) === mine;
  }
  // A first start that ended before it wrote the file has left keys nobody ever saw.
  const unseen = known.length <= 3 && !existsSync(file) && known.every((key) => key.name.startsWith(PREFIX) && key.used === null);
  if (!unseen) return false;
  for (const key of known) if (key.revoked === null) await identity.keys.revoke(key.id);
  return true;
}

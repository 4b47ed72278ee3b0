import type { CacheServer } from "../cacheserver/schema.ts";
import type { Context } from "../context.ts";
import { covers } from "../json.ts";
import type { KubeObject } from "../object.ts";
import type { ServerApi } from "../server-api.ts";
import type { Memory } from "./memory.ts";
import type { CacheKey } from "./schema.ts";
import type { Standing } from "./status.ts";

/** A CacheKey whose server is there, and what is known of both. */
export interface Subject {
  readonly context: Context;
  readonly key: CacheKey;
  readonly server: CacheServer;
  /** Opened when it is needed: most looks need none. */
  readonly open: () => Promise<ServerApi>;
  /** The CacheKey's own, as it was found. */
  readonly secret: KubeObject | undefined;
  readonly memory: Memory;
}

/** What became of it. */
export interface Result {
  readonly standing: Standing;
  readonly secret: KubeObject | undefined;
  readonly retry?: boolean;
}

/** Writes the Secret unless it is so already. @throws KubeError */
export async function write({ context, secret }: Subject, wanted: KubeObject): Promise<KubeObject> {
  return secret !== undefined && covers(secret, wanted) ? secret : context.kube.apply(wanted);
}

import { createHmac, timingSafeEqual } from "node:crypto";

export type SignedOperation = "read" | "write";

/** What a signature covers, and nothing else: clients append and reorder query parameters. */
export interface SignedResource {
  readonly op: SignedOperation;
  readonly cache: string;
  /** The entry's or the reservation's id. */
  readonly id: string;
  /** On whose behalf: a read URL dies with its credential. */
  readonly actor: string;
}

/** Signs URLs that stand for one operation on one object until a time (`se`, Unix seconds; `sig`, masked by clients' logs). */
export class Signer {
  #keys: readonly Buffer[];

  /** @param keys the first signs, all verify */
  constructor(keys: readonly Buffer[]) {
    this.#keys = keys;
  }

  /** Takes other keys from now on. */
  use(keys: readonly Buffer[]): void {
    this.#keys = keys;
  }

  /** The query of a signed URL. @param lifetime seconds */
  sign(resource: SignedResource, lifetime: number): string {
    const se = String(Math.floor(Date.now() / 1000) + lifetime);
    return `se=${se}&sig=${mac(this.#keys[0]!, resource, se)}`;
  }

  /** When the signature ends (ms), or undefined when it is wrong or over. */
  verify(resource: SignedResource, se: unknown, sig: unknown): number | undefined {
    if (typeof se !== "string" || typeof sig !== "string" || !/^\d{1,12}$/.test(se)) return undefined;
    // As text: decoders of base64 take several texts for the same bytes.
    const given = Buffer.from(sig);
    const signed = this.#keys.some((key) => {
      const wanted = Buffer.from(mac(key, resource, se));
      return given.length === wanted.length && timingSafeEqual(given, wanted);
    });
    if (!signed) return undefined;
    const until = Number(se) * 1000;
    return until > Date.now() ? until : undefined;
  }
}

function mac(key: Buffer, r: SignedResource, se: string): string {
  // No part can hold a line break, so the text is unambiguous.
  return createHmac("sha256", key).update(`stowhouse-url-v1\n${r.op}\n${r.cache}\n${r.id}\n${r.actor}\n${se}`).digest("base64url");
}

/** The key for URLs of a secret that signs session tokens too. */
export function urlKey(secret: string): Buffer {
  return createHmac("sha256", secret).update("stowhouse signed url").digest();
}

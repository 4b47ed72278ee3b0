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
  readonly #secret: Buffer;

  constructor(secret: string) {
    this.#secret = Buffer.from(secret, "base64url");
  }

  /** The query of a signed URL. @param lifetime seconds */
  sign(resource: SignedResource, lifetime: number): string {
    const se = String(Math.floor(Date.now() / 1000) + lifetime);
    return `se=${se}&sig=${this.#mac(resource, se)}`;
  }

  /** When the signature ends (ms), or undefined when it is wrong or over. */
  verify(resource: SignedResource, se: unknown, sig: unknown): number | undefined {
    if (typeof se !== "string" || typeof sig !== "string" || !/^\d{1,12}$/.test(se)) return undefined;
    // As text: decoders of base64 take several texts for the same bytes.
    const given = Buffer.from(sig);
    const wanted = Buffer.from(this.#mac(resource, se));
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
    const until = Number(se) * 1000;
    return until > Date.now() ? until : undefined;
  }

  #mac(r: SignedResource, se: string): string {
    // No part can hold a line break, so the text is unambiguous.
    return createHmac("sha256", this.#secret).update(`stowhouse-url-v1\n${r.op}\n${r.cache}\n${r.id}\n${r.actor}\n${se}`).digest("base64url");
  }
}

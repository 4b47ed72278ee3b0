import { createHash, timingSafeEqual } from "node:crypto";

/** A request that may be served: where it goes once what the daemon added is taken off its URL. */
export interface Admitted {
  /** Path and query as the server gets them. */
  readonly target: string;
  /** The server a URL made by `Gate.url` belongs to. */
  readonly server: number | undefined;
}

export interface Knock {
  readonly url: string;
  readonly authorization: string | undefined;
  /** Whether it came over loopback; elsewhere credentials in headers don't count. */
  readonly local: boolean;
  /** Whether it was meant for the intercepted host. */
  readonly intercepted: boolean;
}

const PATH = /^\/s\/([A-Za-z0-9_-]{1,200})(?:\/-(\d{1,2}))?(?=\/)/;

/**
 * Who may use the daemon: tools that know the job's secret (as Bearer, as Basic password, as Basic login without one, or as
 * first path segments `/s/<secret>`), and intercepted requests with the job's own runtime token.
 */
export class Gate {
  readonly #secret: string;
  readonly #digest: Buffer;
  readonly #runtime: Buffer | undefined;

  constructor(secret: string, runtimeToken?: string) {
    this.#secret = secret;
    this.#digest = sha256(secret);
    this.#runtime = runtimeToken === undefined ? undefined : sha256(runtimeToken);
  }

  /** Undefined for a stranger. Takes equally long whatever is wrong about the credential. */
  admit({ url, authorization, local, intercepted }: Knock): Admitted | undefined {
    const path = PATH.exec(url);
    if (path) return same(path[1]!, this.#digest) ? { target: url.slice(path[0].length), server: path[2] === undefined ? undefined : Number(path[2]) } : undefined;
    const wanted = intercepted ? this.#runtime : this.#digest;
    if (!wanted || (!local && !intercepted)) return undefined;
    return candidates(authorization).some((one) => same(one, wanted)) ? { target: url, server: undefined } : undefined;
  }

  /** Whether an Authorization header names the job's secret. */
  knows(authorization: string | undefined): boolean {
    return candidates(authorization).some((one) => same(one, this.#digest));
  }

  /** The path by which a target of one server is reached through the daemon, without any header. */
  path(target: string, server?: number): string {
    return `/s/${this.#secret}${server === undefined ? "" : `/-${server}`}${target}`;
  }
}

/** What an Authorization header may name as the secret. */
function candidates(header: string | undefined): string[] {
  const [, scheme, value] = /^(Bearer|Basic)\s+([^\s]{1,4096})\s*$/i.exec(header ?? "") ?? [];
  if (scheme === undefined) return [];
  if (scheme.toLowerCase() === "bearer") return [value!];
  const decoded = Buffer.from(value!, "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  const [login, password] = colon < 0 ? [decoded, ""] : [decoded.slice(0, colon), decoded.slice(colon + 1)];
  return [password === "" || password === "x-oauth-basic" ? login : password];
}

function same(given: string, digest: Buffer): boolean {
  return timingSafeEqual(sha256(given), digest);
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

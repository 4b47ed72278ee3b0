import type { Connection } from "../client/archive.ts";
import { exchange, type Answer } from "../client/exchange.ts";
import { ExchangeError, type Patience } from "../client/patience.ts";
import { LOOKUP } from "../client/servers.ts";
import type { Upload } from "../client/upload.ts";
import type { StorePath } from "./built.ts";

/** A server may have to ask its upstreams, and answers an upload when it is durable. ms */
const PATIENCE: Patience = { connect: 2_000, answer: 5_000, stall: 5_000 };
const TEXT_LIMIT = 64 * 1024;
/** Not allowed, or no room: what comes next would fare no better. */
const CLOSED = [401, 403, 507];

/** A server that takes nothing from this job. */
export class Denied extends Error {}

/** One server's binary cache, as somebody who pushes sees it. */
export class Cache {
  readonly #connection: Connection;
  readonly #signal: AbortSignal;

  constructor(connection: Connection, signal: AbortSignal) {
    this.#connection = connection;
    this.#signal = signal;
  }

  /** What is short in any case shows whether the server is there at all, sooner than what follows. @throws ExchangeError when it is not */
  async greet(): Promise<void> {
    (await this.#ask("GET", "nix-cache-info", undefined, LOOKUP)).discard();
  }

  /** Whether the path is there; a server that can't say is not believed to have it. @throws ExchangeError */
  async has(path: StorePath): Promise<boolean> {
    const answer = await this.#ask("HEAD", `${path.name.slice(0, 32)}.narinfo`);
    answer.discard();
    return answer.status === 200;
  }

  /** @throws Error for what is not taken, Denied when nothing will be, ExchangeError when the server is away or not well */
  async put(target: string, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    const answer = await this.#ask("PUT", target, { size, chunks });
    if (answer.status >= 200 && answer.status < 300) return answer.discard();
    const said = (await answer.text(TEXT_LIMIT)).trim().split("\n")[0]!.slice(0, 300);
    const why = `${target}: ${answer.status} ${said}`;
    if (CLOSED.includes(answer.status)) throw new Denied(why);
    throw answer.status >= 500 || answer.status === 429 ? new ExchangeError("answer", why) : new Error(why);
  }

  #ask(method: string, target: string, upload?: Upload, patience = PATIENCE): Promise<Answer> {
    const { url, token } = this.#connection;
    return exchange(new URL(`${url}/nix/${target}`), {
      method, patience, signal: this.#signal, headers: token === undefined ? {} : { authorization: `Bearer ${token}` }, ...(upload && { upload }),
    });
  }
}

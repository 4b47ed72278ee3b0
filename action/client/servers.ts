import { Breaker } from "./breaker.ts";
import { exchange, type Answer, type ExchangeOptions } from "./exchange.ts";
import { ExchangeError, type Patience } from "./patience.ts";

export interface ServerSettings {
  /** `https://cache.example.com`; may end in a path prefix such as `/c/team`. */
  readonly url: string;
  readonly token?: string | undefined;
  /** The lowest is asked first; equal ones in their order. */
  readonly priority: number;
  readonly enabled: boolean;
}

/** A look-up is answered in milliseconds by a server that is well; a dead or hanging one must not cost more than 2 s. */
export const LOOKUP: Patience = { connect: 2_000, answer: 2_000, stall: 2_000 };
/** Bodies: the server may take its time to make an upload durable. */
export const TRANSFER: Patience = { connect: 2_000, answer: 60_000, stall: 30_000 };

/** One server as a client sees it. */
export class Server {
  readonly url: string;
  readonly priority: number;
  readonly breaker: Breaker;
  readonly #token: string | undefined;

  constructor(settings: ServerSettings, breaker: Breaker = new Breaker()) {
    this.url = settings.url.replace(/\/+$/, "");
    this.priority = settings.priority;
    this.breaker = breaker;
    this.#token = settings.token;
  }

  /**
   * One exchange with this server, counted by its breaker. @param target a path below the server's URL, or a URL, which gets
   * the token only at the server's own origin
   * @throws ExchangeError
   */
  async request(target: string | URL, options: ExchangeOptions): Promise<Answer> {
    const url = typeof target === "string" ? new URL(this.url + target) : target;
    const own = url.origin === new URL(this.url).origin;
    const authorization = own && this.#token ? { authorization: `Bearer ${this.#token}` } : {};
    try {
      const answer = await exchange(url, { ...options, headers: { ...authorization, ...options.headers } });
      if (own) this.#judge(answer.status);
      return answer;
    } catch (error) {
      if (own && error instanceof ExchangeError && (error.phase === "connect" || error.phase === "answer")) this.breaker.dead();
      throw error;
    }
  }

  #judge(status: number): void {
    if (status >= 500 && status <= 504) this.breaker.bad();
    else this.breaker.good();
  }
}

/** Why a server was of no use. */
export interface Problem {
  readonly server: Server;
  readonly message: string;
  /** `dead`: it did not answer. `resting`: it was left out, because it failed moments ago. `refused`: it answered that it won't. */
  readonly kind: "dead" | "resting" | "refused";
}

export interface Found<T> {
  readonly value: T;
  readonly server: Server;
}

/** The servers that are enabled, by priority. */
export class Servers {
  readonly all: readonly Server[];

  constructor(settings: readonly ServerSettings[]) {
    this.all = settings.filter(({ enabled }) => enabled).toSorted((a, b) => a.priority - b.priority).map((one) => new Server(one));
  }

  /**
   * Asks one server after the other until one has something: `undefined` means that it hasn't, an error that it can't, and
   * the next is asked. Servers that failed moments ago are left out.
   */
  async first<T>(ask: (server: Server) => Promise<T | undefined>, onProblem: (problem: Problem) => void = () => {}): Promise<Found<T> | undefined> {
    for (const server of this.all) {
      if (!server.breaker.take()) {
        onProblem({ server, message: "it failed a moment ago and is left alone for a while", kind: "resting" });
        continue;
      }
      try {
        const value = await ask(server);
        if (value !== undefined) return { value, server };
      } catch (error) {
        onProblem({ server, message: (error as Error).message, kind: error instanceof ExchangeError ? "dead" : "refused" });
      } finally {
        server.breaker.release();
      }
    }
    return undefined;
  }
}

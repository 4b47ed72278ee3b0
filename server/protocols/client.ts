/**
 * What a protocol tells those who stand between a tool and the server: the action, which sets tools up, and the daemon on the
 * runner, which relays their requests. Types only; each protocol's client.ts says them about itself.
 */

export interface Endpoint {
  /** The origin, or with a path where the tool keeps one. */
  readonly url: string;
  readonly token?: string | undefined;
}

/** A request of a tool. */
export interface ToolRequest {
  readonly method: string;
  /** Without the prefix of a cache and without the query. */
  readonly path: string;
  /** Content-Type. */
  readonly type: string | undefined;
}

/** An answer that did not come from a server. */
export interface ToolAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * What a request is for. Answers to a `download` are streamed, all others are small and read whole. A miss of a `lookup` or a
 * `download` goes on to the next server.
 */
export type Purpose = "lookup" | "download" | "reserve" | "upload" | "commit" | "other";

/** What an answer says. */
export interface Reading {
  readonly result: "hit" | "miss" | "stored" | "other";
  /** The body that is handed on, when it isn't the server's own. */
  readonly body?: string | Uint8Array;
}

/** How a tool's uploads, each of them one request, may be taken at once and delivered later. */
export interface Deferred {
  /** What a request stores or reads; undefined for one that does neither. */
  subject(request: ToolRequest): string | undefined;
  /** What the server says when it has stored one. */
  readonly answer: ToolAnswer;
}

export type Mark = <T extends string | number>(handle: T) => T;

export interface ProtocolClient {
  readonly name: string;
  readonly deferred?: Deferred;
  /** Finds in a path what only the server knows that gave it: its first group. Such requests go to that server alone. */
  readonly handle?: RegExp;
  /** Whether a path (without the prefix of a cache) belongs to this protocol. */
  serves(path: string): boolean;
  purpose(request: ToolRequest): Purpose;
  /** The answer which keeps the tool's build green when no server is of use. @param type Content-Type of the request */
  failOpen(method: string, path: string, type?: string): ToolAnswer;
  /**
   * Reads an answer of a server. Undefined when it is none of this protocol's, as from a proxy in between or when it is broken.
   * @param body undefined for a download, which is not read
   * @param via turns a URL the server put into its answer into one that leads through the daemon
   * @param mark marks a handle in it with the server it came from; default: there is only one
   */
  read(request: ToolRequest, status: number, body: Buffer | undefined, via: (url: string) => string, mark?: Mark): Reading | undefined;
}

/**
 * Wire of GOCACHEPROG (cmd/go/internal/cacheprog of Go 1.24–1.26): JSON objects, one a line, on standard input and output; the
 * body of a put follows on a line of its own, as one JSON string in base64.
 */

export type Command = "get" | "put" | "close";

/** A request, with identifiers in hex. */
export interface Request {
  readonly id: number;
  readonly command: string;
  readonly action: string;
  readonly output: string;
  readonly size: number;
}

/** Field names are the wire's. */
export interface Response {
  readonly ID: number;
  readonly Err?: string;
  readonly KnownCommands?: readonly Command[];
  readonly Miss?: true;
  /** Base64. */
  readonly OutputID?: string;
  readonly Size?: number;
  /** RFC 3339. */
  readonly Time?: string;
  readonly DiskPath?: string;
}

/** Takes the body of a put as it arrives. */
export interface Sink {
  write(bytes: Buffer): void;
  /** @param problem what was wrong with the body on the wire */
  end(problem?: string): void;
}

/** Longest line that is not a body, bytes. */
const MAX_LINE = 64 * 1024;
const NEWLINE = 0x0a;

export class ProtocolError extends Error {}

/** Takes requests out of bytes that arrive in any pieces. Bodies are handed on as they are decoded: none is kept. */
export class RequestParser {
  readonly #onRequest: (request: Request) => Sink | undefined;
  #line: Buffer[] = [];
  #length = 0;
  #body: Base64Body | undefined;

  /** @param onRequest a sink for the body of a put; without one it is read over */
  constructor(onRequest: (request: Request) => Sink | undefined) {
    this.#onRequest = onRequest;
  }

  /** @throws ProtocolError for what no go command sends */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const end = chunk.indexOf(NEWLINE, at);
      const piece = chunk.subarray(at, end === -1 ? chunk.length : end);
      if (this.#body) this.#body.write(piece);
      else {
        this.#length += piece.length;
        if (this.#length > MAX_LINE) throw new ProtocolError("a request is longer than 64 KiB");
        this.#line.push(piece);
      }
      if (end === -1) return;
      at = end + 1;
      if (this.#body) {
        // A blank line may stand before the body.
        if (this.#body.end()) this.#body = undefined;
      } else this.#endLine();
    }
  }

  #endLine(): void {
    const text = Buffer.concat(this.#line).toString("utf8").trim();
    this.#line = [];
    this.#length = 0;
    if (text === "") return;
    const request = parseRequest(text);
    const sink = this.#onRequest(request);
    if (request.command === "put" && request.size > 0) this.#body = new Base64Body(sink, request.size);
    else sink?.end();
  }
}

/** Go before 1.25 and golangci-lint say ObjectID for OutputID. @throws ProtocolError */
export function parseRequest(text: string): Request {
  let raw: Record<string, unknown>;
  try {
    raw = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new ProtocolError("a request is not JSON");
  }
  const { ID, Command: command, ActionID, BodySize = 0 } = raw;
  const output = raw["OutputID"] ?? raw["ObjectID"];
  if (typeof ID !== "number" || typeof command !== "string") throw new ProtocolError("a request has no ID or no Command");
  if (typeof BodySize !== "number" || !Number.isSafeInteger(BodySize) || BodySize < 0) throw new ProtocolError("a request has no valid BodySize");
  return { id: ID, command, action: hexOf(ActionID), output: hexOf(output), size: BodySize };
}

function hexOf(value: unknown): string {
  return typeof value === "string" ? Buffer.from(value, "base64").toString("hex") : "";
}

export function formatResponse(response: Response): string {
  return `${JSON.stringify(response)}\n`;
}

export function base64Of(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}

const QUOTE = 0x22;

/** Decodes `"<base64>"` piece by piece. */
class Base64Body {
  readonly #sink: Sink | undefined;
  readonly #size: number;
  #rest = "";
  #decoded = 0;
  #begun = false;

  constructor(sink: Sink | undefined, size: number) {
    this.#sink = sink;
    this.#size = size;
  }

  write(piece: Buffer): void {
    if (piece.length === 0) return;
    let [from, to] = [0, piece.length];
    if (!this.#begun) {
      while (from < to && (piece[from] === 0x20 || piece[from] === 0x0d)) from++;
      if (from === to) return;
      this.#begun = true;
      if (piece[from] === QUOTE) from++;
    }
    while (to > from && (piece[to - 1] === QUOTE || piece[to - 1] === 0x0d)) to--;
    const text = this.#rest + piece.toString("latin1", from, to);
    const whole = text.length - (text.length % 4);
    this.#rest = text.slice(whole);
    this.#take(Buffer.from(text.slice(0, whole), "base64"));
  }

  /** At the end of a line; false when it was blank. */
  end(): boolean {
    if (!this.#begun) return false;
    this.#take(Buffer.from(this.#rest, "base64"));
    this.#sink?.end(this.#decoded === this.#size ? undefined : `a body has ${this.#decoded} bytes instead of ${this.#size}`);
    return true;
  }

  #take(bytes: Buffer): void {
    this.#decoded += bytes.length;
    if (bytes.length > 0) this.#sink?.write(bytes);
  }
}

import { createHash } from "node:crypto";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { ToolAnswer } from "../../server/protocols/client.ts";
import type { Answer } from "../client/exchange.ts";

/** Connection-level headers, which are each connection's own. */
const HOP = new Set(["connection", "keep-alive", "transfer-encoding", "trailer", "upgrade", "proxy-authenticate"]);

/** How far the server's side may be ahead of the tool's, bytes: waiting for every piece would halve the speed. */
const AHEAD = 2 * 1024 * 1024;

/** What a server sent is not what it should be. */
export class Broken extends Error {}

export function headersOf(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  return Object.fromEntries(Object.entries(headers).filter(([name, value]) => !HOP.has(name) && value !== undefined)) as Record<string, string | string[]>;
}

export function sendWhole(response: ServerResponse, status: number, headers: Record<string, string | string[]>, body: string | Uint8Array): void {
  const { "content-length": announced, ...rest } = headers;
  const bytes = typeof body === "string" ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const empty = status === 204 || status === 304;
  // A HEAD's length is that of the body it does not have.
  const length = response.req.method === "HEAD" && announced !== undefined ? announced : String(bytes.length);
  response.writeHead(status, empty ? rest : { ...rest, "content-length": length }).end(empty ? undefined : bytes);
}

export function sendAnswer(response: ServerResponse, { status, type, body, headers }: ToolAnswer): void {
  sendWhole(response, status, { "content-type": type, ...headers }, response.req.method === "HEAD" ? "" : body);
}

/** A body that is read whole. @throws Broken when it is longer than `limit` bytes, or does not match its ETag; ExchangeError */
export async function whole(answer: Answer, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const check = new Check(answer);
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    if (size > limit) throw new Broken(`it is longer than ${limit} bytes`);
    check.update(chunk);
    chunks.push(chunk);
  }
  check.end();
  return Buffer.concat(chunks);
}

/**
 * Streams a body to the tool. Its last piece is held back until all was checked: what broke on its way never becomes a
 * complete answer. @param moved told about bytes as they go out @throws Broken, ExchangeError; nothing was sent yet while `response.headersSent` is false
 */
export async function stream(answer: Answer, response: ServerResponse, moved: (bytes: number) => void): Promise<void> {
  const check = new Check(answer);
  let held: Buffer | undefined;
  for await (const chunk of answer.body) {
    check.update(chunk);
    if (held) await write(response, answer, held);
    moved(chunk.length);
    held = chunk;
  }
  check.end();
  if (held) await write(response, answer, held);
  if (!response.headersSent) response.writeHead(answer.status, headersOf(answer.headers));
  response.end();
}

async function write(response: ServerResponse, answer: Answer, chunk: Buffer): Promise<void> {
  if (response.destroyed) throw new Broken("the tool has gone");
  if (!response.headersSent) response.writeHead(answer.status, headersOf(answer.headers));
  if (response.write(chunk) || response.writableLength < AHEAD) return;
  await new Promise<void>((resolve) => {
    const settle = () => {
      response.off("drain", settle).off("close", settle);
      resolve();
    };
    response.on("drain", settle).on("close", settle);
  });
}

/** Stowhouse's ETags of whole bodies are their SHA-256. */
class Check {
  readonly #digest: string | undefined;
  readonly #hash = createHash("sha256");
  readonly #length: number | undefined;
  #size = 0;

  constructor({ status, headers }: Answer) {
    this.#digest = status === 200 ? /^"([0-9a-f]{64})"$/.exec(headers.etag ?? "")?.[1] : undefined;
    this.#length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  }

  update(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#digest !== undefined) this.#hash.update(chunk);
  }

  end(): void {
    if (this.#length !== undefined && this.#length !== this.#size) throw new Broken(`${this.#size} bytes arrived, ${this.#length} were announced`);
    if (this.#digest !== undefined && this.#hash.digest("hex") !== this.#digest) throw new Broken("its bytes do not match its digest");
  }
}

import type { RecordedRequest } from "../fixtures/recorded/request.ts";
import { openRaw } from "../fixtures/raw-http.ts";
import type { Random } from "../fixtures/random.ts";
import type { Answered } from "./world.ts";

const PATIENCE = 15_000;

/**
 * Sends a request byte by byte as it stands, sometimes with a length that is not its own, over a connection of its own, and
 * reads until the server closes it. Status 0: closed without an answer. Rejects when the server does neither.
 */
export async function sendRaw(url: string, { method, path, headers, body }: RecordedRequest, random: Random): Promise<Answered> {
  const length = body === undefined ? undefined : random.chance(0.05) ? body.length + random.int(-10, 10) : body.length;
  const lines = Object.entries({ host: "127.0.0.1", ...headers, connection: "close", ...(length !== undefined && headers["transfer-encoding"] === undefined && { "content-length": String(length) }) });
  const connection = openRaw(url);
  connection.send(Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`, "latin1"), body ?? Buffer.alloc(0)]));
  const text = await connection.closed(PATIENCE);
  const bytes = Buffer.from(text, "latin1");
  const end = text.indexOf("\r\n\r\n");
  return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0), bytes, body: end === -1 ? Buffer.alloc(0) : bytes.subarray(end + 4) };
}

import type { IncomingMessage } from "node:http";
import type { Upload } from "../client/upload.ts";

/** A request's body. What is kept in memory can be sent again, to another server. */
export type Incoming =
  | { readonly kind: "none" }
  | { readonly kind: "kept"; readonly bytes: Buffer }
  | { readonly kind: "stream"; readonly size: number; readonly chunks: AsyncIterable<Buffer> };

/** Bodies up to this size are kept, bytes. */
const KEEP = 256 * 1024;
/** Bodies of unknown size are kept up to here. */
const KEEP_UNKNOWN = 16 * 1024 * 1024;

export class TooLarge extends Error {}

/** @throws TooLarge for a body that doesn't say its size and has too much of it; and when the tool breaks off */
export async function incoming(request: IncomingMessage): Promise<Incoming> {
  const { "content-length": length, "transfer-encoding": coding, "content-range": range } = request.headers;
  if (length === undefined && coding === undefined) return { kind: "none" };
  const [, start, last] = /^bytes (\d{1,15})-(\d{1,15})\//.exec(range ?? "") ?? [];
  // Who stops reading half-way must still be able to answer the tool: its connection stays.
  // The toolkit's chunks for service v1 have no Content-Length; their range says it.
  const size = length !== undefined ? Number(length) : start === undefined ? undefined : Number(last) - Number(start) + 1;
  if (size !== undefined && size > KEEP) return { kind: "stream", size, chunks: request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer> };
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > KEEP_UNKNOWN) throw new TooLarge("send a Content-Length");
    chunks.push(chunk);
  }
  return { kind: "kept", bytes: Buffer.concat(chunks) };
}

/** What an exchange sends; undefined for a request without a body. @param moved told about bytes as they go out */
export function uploadOf(body: Incoming, moved: (bytes: number) => void): Upload | undefined {
  if (body.kind === "none") return undefined;
  const chunks = body.kind === "kept" ? [body.bytes] : body.chunks;
  return {
    size: body.kind === "kept" ? body.bytes.length : body.size,
    chunks: (async function* () {
      for await (const chunk of chunks) {
        moved(chunk.length);
        yield chunk;
      }
    })(),
  };
}

/** Connection-level headers (RFC 9110 §7.6.1), and those the exchange with the server sets itself. */
const OWN = new Set(["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "host", "authorization", "content-length", "expect"]);

/** The headers of a request as the server gets them: without the tool's credential, which is worth nothing there. */
export function forwarded(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) if (!OWN.has(name) && value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  return headers;
}

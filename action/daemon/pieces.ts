import type { IncomingMessage, ServerResponse } from "node:http";
import type { Spooled } from "./spool.ts";

/** Answers a GET, HEAD or one range of a body in several pieces. Returns how many bytes went out. */
export async function sendPieces(request: IncomingMessage, response: ServerResponse, pieces: readonly Spooled[]): Promise<number> {
  const size = pieces.reduce((sum, piece) => sum + piece.size, 0);
  const range = rangeOf((request.headers["x-ms-range"] as string | undefined) ?? request.headers.range, size);
  if (!range) {
    response.writeHead(416, { "content-range": `bytes */${size}`, "content-length": 0 }).end();
    return 0;
  }
  const { start, end, partial } = range;
  response.writeHead(partial ? 206 : 200, {
    "content-type": "application/octet-stream", "content-length": end - start, "accept-ranges": "bytes", ...(partial && { "content-range": `bytes ${start}-${end - 1}/${size}` }),
  });
  let offset = 0;
  for (const piece of request.method === "HEAD" ? [] : pieces) {
    const [from, to] = [Math.max(start - offset, 0), Math.min(end - offset, piece.size)];
    offset += piece.size;
    if (from >= to) continue;
    for await (const chunk of piece.read(from, to)) {
      if (response.destroyed) return 0;
      if (!response.write(chunk)) await new Promise<void>((resolve) => void response.once("drain", resolve).once("close", resolve));
    }
  }
  response.end();
  return request.method === "HEAD" ? 0 : end - start;
}

/** Bytes [start, end) of a body; undefined for a range outside it. Anything but one plain range means the whole. */
export function rangeOf(header: string | undefined, size: number): { start: number; end: number; partial: boolean } | undefined {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "") ?? [];
  if (first === undefined || (first === "" && last === "")) return { start: 0, end: size, partial: false };
  const start = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(Number(last) + 1, size);
  return start < end ? { start, end, partial: true } : undefined;
}

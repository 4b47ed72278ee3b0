import type { ClientRequest } from "node:http";

/** A body on its way out, of a size known before: it is streamed, and nothing of it is kept. */
export interface Upload {
  readonly size: number;
  readonly chunks: AsyncIterable<Buffer>;
  /** False: it is sent at once, however large; for many in a row, each of which would wait for the server's word. */
  readonly ask?: boolean;
}

/** From this size on the server is asked first whether it wants the body at all, bytes. */
export const ASK_FROM = 256 * 1024;
/** How long a server may take to say "go on", ms; old ones never say it. */
const GO_ON_MS = 1_000;

/**
 * Writes a body as fast as the connection takes it, and stops when the server answers before its end. Resolves true when
 * all was sent. @param moved called whenever bytes went out
 */
export async function sendBody(request: ClientRequest, upload: Upload, moved: () => void): Promise<boolean> {
  let answered = false;
  request.once("response", () => (answered = true));
  if (request.hasHeader("expect")) await goOn(request);
  let sent = 0;
  for await (const chunk of upload.chunks) {
    if (answered || request.destroyed) return false;
    sent += chunk.length;
    if (sent > upload.size) throw new Error("the file grew while it was sent");
    if (!request.write(chunk)) await first(request, ["drain", "close", "response"]);
    moved();
  }
  if (answered || request.destroyed) return false;
  if (sent < upload.size) throw new Error("the file shrank while it was sent");
  request.end();
  return true;
}

async function goOn(request: ClientRequest): Promise<void> {
  request.flushHeaders();
  await first(request, ["continue", "close", "response"], GO_ON_MS);
}

/** Resolves at the first of these events, or after so many milliseconds. */
function first(request: ClientRequest, events: readonly string[], patience?: number): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      clearTimeout(timer);
      for (const event of events) request.off(event, settle);
      resolve();
    };
    const timer = patience === undefined ? undefined : setTimeout(settle, patience);
    for (const event of events) request.on(event, settle);
  });
}

import type { IncomingMessage } from "node:http";
import { kubeErrors } from "./kube-error.ts";

/** The API server holds no object above 3 MiB. */
const MAX_LINE = 16 << 20;

/**
 * The lines of a response. Leaving the loop ends the connection.
 * @param quiet ends it when nothing came for so long, ms: a peer that vanished says nothing
 * @throws KubeError `Unreachable`, `TimedOut`, `BadAnswer`
 */
export async function* readLines(response: IncomingMessage, quiet: number): AsyncGenerator<string> {
  let silent = false;
  const guard = setTimeout(() => {
    silent = true;
    response.destroy();
  }, quiet);
  let pending: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      guard.refresh();
      let start = 0;
      for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
        pending.push(chunk.subarray(start, end));
        const line = Buffer.concat(pending).toString("utf8");
        pending = [];
        size = 0;
        start = end + 1;
        if (line.trim() !== "") yield line;
      }
      pending.push(chunk.subarray(start));
      size += chunk.length - start;
      if (size > MAX_LINE) throw kubeErrors.badAnswer("The API server sent a line longer than 16 MiB.");
    }
    // What a cut left behind is half an object; an error's text comes without a line break.
    const rest = Buffer.concat(pending).toString("utf8");
    if (rest.trim() !== "") yield rest;
  } catch (error) {
    if (silent) throw kubeErrors.timedOut(`The API server sent nothing for ${quiet} ms.`);
    throw error instanceof Error && error.name === "KubeError" ? error : kubeErrors.unreachable(`The API server's stream broke off: ${(error as Error).message}`, error);
  } finally {
    clearTimeout(guard);
    response.destroy();
  }
}

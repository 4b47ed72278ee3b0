import { request as httpRequest } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";

/** One small request to a server of ours: everything about it is bounded. */
export interface Call {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /**
   * The server's own certificate, PEM. It, not the host's name, is the server's identity, because the Service's name is seldom
   * in a certificate that is meant for clients outside.
   */
  readonly trusted?: string;
  /** For the whole exchange, ms. */
  readonly timeout: number;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export type Send = (call: Call) => Promise<Answer>;

const MAX_ANSWER = 4 << 20;

/** Sends a request and reads the answer whole. Rejects when nobody answers in time, or with more than 4 MiB. */
export const send: Send = (call) =>
  new Promise((resolve, reject) => {
    const { method, headers, body, trusted, timeout } = call;
    // A connection of its own each time: calls are seconds apart, and Services balance connections, not requests.
    const options: RequestOptions = { method, headers: { ...headers, connection: "close" }, agent: false, signal: AbortSignal.timeout(timeout) };
    const pinned: RequestOptions = trusted === undefined ? {} : { ca: trusted, allowPartialTrustChain: true, checkServerIdentity: () => undefined };
    const request = call.url.startsWith("https:") ? httpsRequest(call.url, { ...options, ...pinned }) : httpRequest(call.url, options);
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER) response.destroy(new Error("the answer is larger than 4 MiB"));
        else chunks.push(chunk);
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
    });
    request.end(body);
  });

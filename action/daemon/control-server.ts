import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { JobMetrics, ProtocolMetrics } from "./settings.ts";

export interface Controlled {
  metrics(): JobMetrics;
  /** @param url of the server, default the first. False for an unknown one. */
  renew(token: string, url: string | undefined): boolean;
  /** @param also what else belongs to the job's metrics */
  stop(drainMs: number, also: readonly ProtocolMetrics[]): Promise<JobMetrics>;
}

const MAX_BODY = 64 * 1024;

/** The parent's own endpoint on loopback, for the action alone: its secret is in the state file. Returns its URL. */
export async function startControl(secret: string, daemon: Controlled): Promise<string> {
  const digest = sha256(secret);
  const server = createServer({ requestTimeout: 5_000 }, (request, response) => {
    const given = /^Bearer (\S+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    if (!timingSafeEqual(sha256(given), digest)) return void response.writeHead(401).end();
    answer(request, daemon).then(
      (result) => response.writeHead(result === undefined ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(result ?? {})),
      (error: Error) => response.writeHead(400).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function answer(request: IncomingMessage, daemon: Controlled): Promise<unknown> {
  if (request.method === "GET" && request.url === "/metrics") return daemon.metrics();
  if (request.method !== "POST") return undefined;
  const { drainMs, also, token, url } = JSON.parse(await text(request)) as { drainMs?: number; also?: ProtocolMetrics[]; token?: string; url?: string };
  if (request.url === "/stop") return daemon.stop(Number(drainMs ?? 0), also ?? []);
  if (request.url === "/token" && typeof token === "string") return daemon.renew(token, url) ? {} : undefined;
  return undefined;
}

async function text(request: IncomingMessage): Promise<string> {
  let all = "";
  for await (const chunk of request.setEncoding("utf8") as AsyncIterable<string>) {
    all += chunk;
    if (all.length > MAX_BODY) throw new Error("too large");
  }
  return all;
}

function sha256(value: string): Buffer {
  return createHash("sha256").update(value).digest();
}

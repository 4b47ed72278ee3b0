import type { IncomingMessage, ServerResponse } from "node:http";
import type { ProtocolClient, Reading, ToolRequest } from "../../server/protocols/client.ts";
import type { Answer } from "../client/exchange.ts";
import { forwarded, uploadOf, type Incoming } from "./incoming.ts";
import { Broken, headersOf, sendAnswer, sendWhole, stream, whole } from "./outgoing.ts";
import { resuming, type Rest } from "./resume.ts";
import type { ProtocolMetrics } from "./settings.ts";
import type { Upstream } from "./upstream.ts";

/** Bodies up to this size are checked before the tool gets their first byte: what is broken is a miss then. Bytes. */
const CHECK_FIRST = 4 * 1024 * 1024;
const REDIRECTS = 3;

/** What of a server is asked for. */
export interface Target {
  /** Path and query as the server gets them. */
  readonly to: string;
  /** The one server that knows it. */
  readonly server?: number;
  /** Of a URL it has signed: below its origin, not below its own URL. */
  readonly signed?: boolean;
}

export function targetOf({ to, signed }: Target, upstream: Upstream): string | URL {
  return signed ? new URL(to, upstream.url) : to;
}

/** A tool's request on its way to the servers. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly client: ProtocolClient;
  readonly tool: ToolRequest;
  readonly target: Target;
  readonly row: ProtocolMetrics;
  /** Makes a URL from a server's answer lead through the daemon. */
  readonly via: (url: string, upstream: Upstream) => string;
  /** Marks what only this server knows. */
  readonly mark: <T extends string | number>(handle: T, upstream: Upstream) => T;
  /** The URL of something the daemon itself has. */
  readonly own: (target: string) => string;
}

/** What became of a request. */
export type Outcome = "hit" | "miss" | "stored" | "other" | "failed";

/** Answers a tool's request by the first server that has something to say; when none has, by what keeps its build green. */
export async function relay(upstreams: readonly Upstream[], call: Call, body: Incoming): Promise<Outcome> {
  let miss: (() => void) | undefined;
  for (const upstream of upstreams) {
    if (!upstream.available || (call.target.server !== undefined && call.target.server !== upstream.index)) continue;
    const result = await ask(upstreams, upstream, call, body);
    if (result === "cut") return "failed";
    if (result?.reading.result === "miss" && !call.response.headersSent) miss ??= result.send;
    else if (result) {
      result.send();
      return result.reading.result;
    }
    // A body that streams is gone by now.
    if (body.kind === "stream") break;
  }
  if (miss) {
    miss();
    return "miss";
  }
  failOpen(call);
  return "failed";
}

/** The protocol's own answer for the case that no server is of use. */
export function failOpen({ request, response, client, tool }: Pick<Call, "request" | "response" | "client" | "tool">): void {
  if (response.headersSent) return void response.destroy();
  // Many tools take an answer in the middle of their body for a broken connection.
  if (!request.complete) request.resume();
  sendAnswer(response, client.failOpen(tool.method, tool.path, tool.type));
}

interface Sendable {
  readonly reading: Reading;
  readonly send: () => void;
}

/** What one server says; undefined when that is of no use, `cut` when the tool has had a part of it already. */
async function ask(upstreams: readonly Upstream[], upstream: Upstream, call: Call, body: Incoming): Promise<Sendable | "cut" | undefined> {
  const { client, tool, row, response } = call;
  const began = performance.now();
  try {
    const answer = await exchange(upstream, call, body);
    if (!isSound(answer)) {
      answer.discard();
      upstream.failed(began);
      return undefined;
    }
    const headers = headersOf(answer.headers);
    if (tool.method === "HEAD") {
      answer.discard();
      const reading = client.read(tool, answer.status, undefined, String) ?? { result: "other" };
      return { reading, send: () => sendWhole(response, answer.status, headers, "") };
    }
    const download = client.purpose(tool) === "download" && answer.status < 300;
    const source: Source = { upstream, moved: began };
    const lasting = download ? resuming(answer, (rest) => more(upstreams, source, call, rest)) : answer;
    if (download && !(Number(answer.headers["content-length"]) <= CHECK_FIRST)) return await streamed(source, call, lasting);
    const bytes = await whole(lasting, CHECK_FIRST);
    const reading = client.read(tool, answer.status, bytes, (url) => call.via(url, upstream), (handle) => call.mark(handle, upstream));
    if (!reading) throw new Broken("it is no answer of this protocol");
    if (answer.status < 300) row.bytesIn += bytes.length;
    return { reading, send: () => sendWhole(response, answer.status, headers, reading.body ?? bytes) };
  } catch (error) {
    return judge(upstream, call, error as Error, began);
  }
}

/** Where a body comes from now, and when it last moved. */
interface Source {
  upstream: Upstream;
  moved: number;
}

async function streamed(source: Source, call: Call, answer: Answer): Promise<Sendable | "cut" | undefined> {
  try {
    await stream(answer, call.response, (bytes) => {
      call.row.bytesIn += bytes;
      source.moved = performance.now();
    });
  } catch (error) {
    answer.discard();
    return judge(source.upstream, call, error as Error, source.moved);
  }
  return { reading: call.client.read(call.tool, answer.status, undefined, String) ?? { result: "other" }, send: () => {} };
}

/** The rest of a body: from the same server, if it only broke off, or from another that has the very same. */
async function more(upstreams: readonly Upstream[], source: Source, call: Call, { range, is, cut }: Rest): Promise<Answer | undefined> {
  const before = source.upstream;
  const others = call.target.server === undefined ? upstreams.filter((one) => one !== before) : [];
  for (const upstream of cut ? [before, ...others] : others) {
    if (!upstream.available || call.response.destroyed) continue;
    const answer = await exchange(upstream, call, { kind: "none" }, range).catch(() => undefined);
    if (answer && is(answer)) {
      if (upstream !== before) before.dead(source.moved);
      source.upstream = upstream;
      return answer;
    }
    answer?.discard();
  }
  return undefined;
}

/** What a request that broke off means for the server, and for the tool. */
function judge(upstream: Upstream, { response }: Call, error: Error, since: number): "cut" | undefined {
  const gone = response.destroyed;
  const phase = (error as { phase?: string }).phase;
  if (!gone && phase === "body") upstream.dead(since);
  if (!gone && error instanceof Broken) {
    upstream.failed(since);
    upstream.breaker.bad();
  }
  if (!response.headersSent && !gone) return undefined;
  response.destroy();
  return "cut";
}

/** @param range instead of what the tool asked for @throws ExchangeError, Broken */
async function exchange(upstream: Upstream, call: Call, body: Incoming, range?: string): Promise<Answer> {
  const { client, tool, target, request, response, row } = call;
  const upload = uploadOf(body, (bytes) => (row.bytesOut += bytes));
  const left = new AbortController();
  const onClose = () => left.abort();
  response.once("close", onClose);
  const { "x-ms-range": _, ...rest } = forwarded(request);
  const headers = range === undefined ? forwarded(request) : { ...rest, range };
  try {
    let answer = await upstream.ask(targetOf(target, upstream), {
      method: tool.method, headers, signal: left.signal, ...(upload && { upload }),
    }, client.purpose(tool) === "upload");
    // Followed here, so that fail-open holds for the storage a server sends its readers to as well.
    for (let hops = 0; hops < REDIRECTS && !upload && isRedirect(answer); hops++) {
      const next = URL.parse(answer.headers.location!, new URL(target.to, upstream.url).href);
      answer.discard();
      if (!next || !/^https?:$/.test(next.protocol)) throw new Broken("it redirects to no URL");
      answer = await upstream.ask(next, { method: tool.method, headers, signal: left.signal });
    }
    return answer;
  } finally {
    response.off("close", onClose);
  }
}

function isRedirect({ status, headers }: Answer): boolean {
  return [301, 302, 303, 307, 308].includes(status) && headers.location !== undefined;
}

/** Whether a Stowhouse server said this. Proxies in between speak HTML; a refused credential is the daemon's affair, not the tool's. */
function isSound({ status, headers }: Answer): boolean {
  return status < 500 && status !== 429 && status !== 401 && status !== 407 && !/^text\/html\b/i.test(headers["content-type"] ?? "");
}

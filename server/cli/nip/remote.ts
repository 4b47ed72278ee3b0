import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { Answer, ExchangeOptions } from "../../../action/client/exchange.ts";
import { LOOKUP, TRANSFER, type Server } from "../../../action/client/servers.ts";
import { artifactPath, DIGEST_HEADER, LIST_PATH, metadataPath, parseList, parseLookup, resolveDownload, uploadForm, type ListPage } from "../../protocols/nip/wire.ts";
import type { LocalArtifact } from "./local.ts";

/** The server answered, but not with what was asked for. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What arrived is not what was sent. */
export class Corrupt extends Error {}

/** Takes the bytes of a transfer as they pass, for its display. */
export type Meter = (bytes: number) => void;

const REDIRECTS = 3;
const READ_SIZE = 256 * 1024;

/** Where a key's artifact is, or undefined for a miss. @throws ExchangeError, Refused */
export async function lookUp(server: Server, key: string, signal: AbortSignal): Promise<URL | undefined> {
  const answer = await server.request(artifactPath(key), { patience: LOOKUP, signal });
  if (answer.status === 404) return void answer.discard();
  if (answer.status !== 200) throw await refusal(answer);
  const path = parseLookup(await answer.text());
  const url = path === undefined ? undefined : resolveDownload(server.url, path);
  if (!url) throw new Refused(200, "its answer holds no download URL");
  return url;
}

/**
 * Downloads an artifact and checks it. Returns its SHA-256. @param write takes the bytes in order
 * @throws ExchangeError, Refused, Corrupt
 */
export async function download(server: Server, url: URL, write: (chunk: Buffer) => Promise<void>, signal: AbortSignal, meter: Meter): Promise<string> {
  const answer = await follow(server, url, { patience: TRANSFER, signal });
  if (answer.status !== 200) throw await refusal(answer);
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    hash.update(chunk);
    await write(chunk);
    meter(chunk.length);
  }
  const announced = answer.headers["content-length"];
  if (announced !== undefined && Number(announced) !== size) throw new Corrupt(`${size} bytes arrived, ${announced} were announced`);
  const digest = hash.digest("hex");
  const expected = digestOf(answer);
  if (expected !== undefined && expected !== digest) throw new Corrupt(`the bytes that arrived hash to ${digest}, the server says ${expected}`);
  return digest;
}

async function follow(server: Server, url: URL, options: ExchangeOptions): Promise<Answer> {
  for (let hops = 0; ; hops++) {
    const answer = await server.request(url, options);
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined || hops === REDIRECTS) return answer;
    answer.discard();
    const next = URL.parse(location, url.href);
    if (!next || !/^https?:$/.test(next.protocol)) throw new Refused(answer.status, "it redirects to no URL");
    url = next;
  }
}

/** The metadata of a key, as text. @param digest of the artifact it must belong to @throws ExchangeError, Refused, Corrupt */
export async function metadataOf(server: Server, key: string, digest: string, signal: AbortSignal): Promise<string> {
  const answer = await server.request(metadataPath(key), { patience: LOOKUP, signal });
  if (answer.status !== 200) throw await refusal(answer);
  const belongs = answer.headers[DIGEST_HEADER];
  const text = await answer.text();
  if (belongs !== undefined && belongs !== digest) throw new Corrupt("the entry was replaced while it was fetched");
  if (!isJson(text)) throw new Corrupt("the metadata that arrived is not JSON");
  return text;
}

/** Uploads an artifact and checks what the server says it got. @throws ExchangeError, Refused, Corrupt, and what reading the file throws */
export async function upload(server: Server, artifact: LocalArtifact, metadata: string, signal: AbortSignal, meter: Meter): Promise<void> {
  const form = uploadForm(`----stowhouse-${crypto.randomUUID()}`, metadata);
  const hash = createHash("sha256");
  async function* chunks(): AsyncGenerator<Buffer> {
    yield form.before;
    for await (const chunk of createReadStream(artifact.path, { highWaterMark: READ_SIZE }) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      yield chunk;
      meter(chunk.length);
    }
    yield form.after;
  }
  const size = form.before.length + artifact.size + form.after.length;
  const answer = await server.request(artifactPath(artifact.key), { headers: { "content-type": form.type }, upload: { size, chunks: chunks() }, patience: TRANSFER, signal });
  if (answer.status !== 201 && answer.status !== 200) throw await refusal(answer);
  const stored = digestOf(answer);
  answer.discard();
  const sent = hash.digest("hex");
  if (stored !== undefined && stored !== sent) throw new Corrupt(`the server stored bytes that hash to ${stored}, not ${sent}`);
}

/** Whether the server holds exactly these bytes under the key. @throws ExchangeError, Refused */
export async function holds(server: Server, key: string, digest: string, signal: AbortSignal): Promise<boolean> {
  const url = await lookUp(server, key, signal);
  if (!url) return false;
  const answer = await server.request(url, { method: "HEAD", patience: LOOKUP, signal });
  answer.discard();
  return answer.status === 200 && digestOf(answer) === digest;
}

/** A page of what the server shows this key; undefined for a server that lists nothing. @throws ExchangeError, Refused */
export async function listPage(server: Server, before: string | undefined, signal: AbortSignal): Promise<ListPage | undefined> {
  const answer = await server.request(`${LIST_PATH}${before === undefined ? "" : `?before=${encodeURIComponent(before)}`}`, { patience: LOOKUP, signal });
  if (answer.status === 404 || answer.status === 405) return void answer.discard();
  if (answer.status !== 200) throw await refusal(answer);
  return parseList(await answer.text());
}

export async function refusal(answer: Answer): Promise<Refused> {
  const text = await answer.text(64 * 1024).catch(() => "");
  return new Refused(answer.status, `${answer.status} ${said(text) ?? (answer.headers["content-type"]?.startsWith("text/plain") ? text.trim().slice(0, 200) : "")}`.trim());
}

/** What a JSON error says, ours or the reference server's. */
function said(text: string): string | undefined {
  try {
    const { message, error } = JSON.parse(text) as { message?: unknown; error?: unknown };
    const inner = typeof error === "object" && error !== null ? (error as { message?: unknown }).message : error;
    return [message, inner].find((one) => typeof one === "string")?.slice(0, 500);
  } catch {
    return undefined;
  }
}

function digestOf(answer: Answer): string | undefined {
  return /^"([0-9a-f]{64})"$/.exec(answer.headers.etag ?? "")?.[1];
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

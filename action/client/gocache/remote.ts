import { hash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import {
  BUNDLE, BUNDLE_HEAD_BYTES, COMPRESSION_HEADER, entryPath, formatIds, HAVE_BYTES, ID_BYTES, MANIFEST, MAX_BUNDLED, OUTPUT_HEADER, parseBundleHead, parseIds, PUT_MANY,
  RecordParser, SIZE_HEADER, type Head, type Received,
} from "../../../server/protocols/go/wire.ts";
import { WireError } from "../../../server/protocols/wire.ts";
import type { Answer } from "../exchange.ts";
import type { Patience } from "../patience.ts";
import type { Server, Servers } from "../servers.ts";
import type { Upload } from "../upload.ts";

/** Largest body that is taken into memory, bytes. */
const MAX_BODY = 1024 * 1024 * 1024;

/** An output as a server sent it: not verified yet. */
export interface Fetched {
  readonly head: Head;
  readonly body: Buffer;
}

type OnRecord = (received: Received) => Promise<void> | undefined;

/** The outputs that servers have, by priority; every wait is bounded, and a server that failed is left alone for a while. */
export class Remote {
  readonly #servers: Servers;
  readonly #get: Patience;
  readonly #put: Patience;
  readonly #query: string;
  readonly #onProblem: (message: string) => void;
  /** Servers that have refused this credential's writes. */
  readonly #closed = new Set<Server>();

  /** @param prefix keeps this tool's entries apart from others' */
  constructor(servers: Servers, prefix: string, patience: { get: Patience; put: Patience }, onProblem: (message: string) => void) {
    this.#servers = servers;
    this.#get = patience.get;
    this.#put = patience.put;
    this.#query = prefix === "" ? "" : `prefix=${encodeURIComponent(prefix)}`;
    this.#onProblem = onProblem;
  }

  /** Whether there is any server to ask. */
  get present(): boolean {
    return this.#servers.all.length > 0;
  }

  /** Whether any server may still take something. */
  get writable(): boolean {
    return this.#servers.all.some((server) => !this.#closed.has(server));
  }

  /** One output; undefined when no server has it. */
  async get(action: string, signal?: AbortSignal): Promise<Fetched | undefined> {
    return this.#first(async (server) => {
      const answer = await server.request(this.#path(entryPath(action)), { patience: this.#get, signal });
      if (!ok(answer)) return undefined;
      const head = headOf(action, answer);
      const body = await read(answer, head.stored);
      return { head, body };
    }, signal);
  }

  /**
   * What the last build under a label used, or an action and what was stored next to it, as it arrives. @param have actions
   * this machine has already @param onList all actions that come, before the first of them @param onRecord may let the stream
   * wait @returns false when there is none
   */
  async bundle(of: { label: string } | { near: string }, have: readonly string[], onList: (actions: string[]) => void, onRecord: OnRecord, signal: AbortSignal): Promise<boolean> {
    const query = "near" in of ? `near=${of.near}` : `label=${encodeURIComponent(of.label)}`;
    const upload = bytes(Buffer.from(have.map((action) => action.slice(0, 2 * HAVE_BYTES)).join(""), "hex"));
    const found = await this.#first(async (server) => {
      const answer = await server.request(this.#path(BUNDLE, query), { method: "POST", upload, patience: this.#get, signal });
      if (!ok(answer)) return undefined;
      await readBundle(answer, onList, onRecord);
      return true;
    }, signal);
    return found ?? false;
  }

  /** Stores one output. False when no server took it. */
  async put(action: string, about: { output: string; size: number; zstd: boolean }, stored: number, chunks: () => AsyncIterable<Buffer>, signal: AbortSignal): Promise<boolean> {
    const headers = { [OUTPUT_HEADER]: about.output, [COMPRESSION_HEADER]: about.zstd ? "zstd" : "", [SIZE_HEADER]: String(about.size) };
    return this.#sent((server) => server.request(this.#path(entryPath(action)), { method: "PUT", headers, upload: { size: stored, chunks: chunks(), ask: false }, patience: this.#put, signal }));
  }

  /** Stores records. False when no server took them. */
  async putMany(records: Buffer, signal: AbortSignal): Promise<boolean> {
    return this.#sent((server) => server.request(this.#path(PUT_MANY), { method: "POST", upload: { ...bytes(records), ask: false }, patience: this.#put, signal }));
  }

  /** Says what this build used, in order. */
  async manifest(label: string, used: readonly string[], signal: AbortSignal): Promise<boolean> {
    const path = this.#path(MANIFEST, `label=${encodeURIComponent(label)}`);
    return this.#sent((server) => server.request(path, { method: "POST", upload: { ...bytes(formatIds(used)), ask: false }, patience: this.#put, signal }));
  }

  #path(path: string, query = ""): string {
    const all = [query, this.#query].filter((part) => part !== "").join("&");
    return all === "" ? path : `${path}?${all}`;
  }

  async #sent(send: (server: Server) => Promise<Answer>): Promise<boolean> {
    const sent = await this.#first(async (server) => {
      if (this.#closed.has(server)) return undefined;
      const answer = await send(server);
      if (answer.status >= 200 && answer.status < 300) {
        answer.discard();
        return true;
      }
      if (answer.status === 401 || answer.status === 403) this.#closed.add(server);
      throw new Error(`${answer.status} ${(await answer.text(4096).catch(() => "")).slice(0, 200)}`.trim());
    });
    return sent ?? false;
  }

  /** @param signal what is given up is no server's fault */
  async #first<T>(ask: (server: Server) => Promise<T | undefined>, signal?: AbortSignal): Promise<T | undefined> {
    const found = await this.#servers.first(ask, ({ server, message, kind }) => kind !== "resting" && !signal?.aborted && this.#onProblem(`${server.url}: ${message}`));
    return found?.value;
  }
}

/** Makes sure that an output is what it is said to be, and inflates it. @throws Error when it is not */
export function plainOf({ head, body }: Fetched): Buffer {
  const plain = head.zstd ? zstdDecompressSync(body, { chunkSize: Math.max(head.size, 64), maxOutputLength: Math.max(head.size, 1) }) : body;
  if (plain.length !== head.size || hash("sha256", plain) !== head.output) throw new Error(`the server's body for ${head.action} is not the output it says`);
  return plain;
}

/** @throws Error for an answer that is neither a hit nor a miss */
function ok(answer: Answer): boolean {
  if (answer.status === 200) return true;
  answer.discard();
  if (answer.status === 404) return false;
  throw new Error(`the server answered ${answer.status}`);
}

function headOf(action: string, { headers }: Answer): Head {
  const [output, size, stored] = [headers[OUTPUT_HEADER], headers[SIZE_HEADER], headers["content-length"]];
  if (typeof output !== "string" || !/^[0-9a-f]{64}$/.test(output) || !/^\d+$/.test(String(size)) || !/^\d+$/.test(String(stored))) throw new WireError("the answer is none of Go's cache");
  const time = Date.parse(headers["last-modified"] ?? "");
  return { action, output, size: Number(size), stored: Number(stored), zstd: headers[COMPRESSION_HEADER] === "zstd", found: true, time: Number.isNaN(time) ? 0 : time };
}

async function read(answer: Answer, size: number): Promise<Buffer> {
  if (size > MAX_BODY) {
    answer.discard();
    throw new WireError(`the body has ${size} bytes`);
  }
  const chunks: Buffer[] = [];
  for await (const chunk of answer.body) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

async function readBundle(answer: Answer, onList: (actions: string[]) => void, onRecord: OnRecord): Promise<void> {
  const parser = new RecordParser(MAX_BUNDLED);
  let head: Buffer[] | undefined = [];
  let length = 0;
  for await (const chunk of answer.body) {
    let rest = chunk;
    if (head) {
      head.push(chunk);
      length += chunk.length;
      if (length < BUNDLE_HEAD_BYTES) continue;
      const joined = Buffer.concat(head);
      const end = BUNDLE_HEAD_BYTES + parseBundleHead(joined) * ID_BYTES;
      if (length < end) {
        head = [joined];
        continue;
      }
      onList(parseIds(joined.subarray(BUNDLE_HEAD_BYTES, end)));
      rest = joined.subarray(end);
      head = undefined;
    }
    for (const received of parser.push(rest)) await onRecord(received);
  }
  if (head || !parser.idle) throw new WireError("the bundle broke off");
}

function bytes(buffer: Buffer): Upload {
  return {
    size: buffer.length,
    chunks: (async function* () {
      if (buffer.length > 0) yield buffer;
    })(),
  };
}


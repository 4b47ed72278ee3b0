import type { FastifyReply, FastifyRequest } from "fastify";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import type { Database } from "../../../database/database.ts";
import type { Deployment } from "../../../database/operations/deploy.ts";
import { CLOSE, hangUp, type WebSockets } from "../../../http/websocket.ts";
import { WireError } from "../../wire.ts";
import { isLastLine, parseLogLine, type LogLine } from "./wire.ts";

/** Bytes of a deployment's log; the line that ends it has a place of its own. */
const ROOM = 2 ** 20;
const LAST_ROOM = 2 ** 17;
/** What came in so long is written together, ms. */
const GATHER_MS = 100;
/** A writer is not read from while so much of it is not written, characters. */
const UNWRITTEN = 2 ** 18;
const RETRY_MS = 1_000;
/** How often a viewer looks for lines that came by another replica, ms. */
const VIEW_MS = 500;
/** Lines may come so long after a deployment's end, ms. */
const LINGER_MS = 10_000;

/** The lines that deployments' processes write, and that who activates reads meanwhile. */
export class Logs {
  readonly #database: Database;
  readonly #sockets: WebSockets;
  readonly #stop = new AbortController();
  readonly #writes = new Set<Promise<unknown>>();
  /** Viewers on this process, by deployment. */
  readonly #viewers = new Map<string, Set<() => void>>();

  constructor(database: Database, sockets: WebSockets) {
    this.#database = database;
    this.#sockets = sockets;
  }

  /** Takes lines from a deployment's process. */
  write(request: FastifyRequest, reply: FastifyReply, deployment: Deployment): FastifyReply {
    // The process reads nothing while it writes, so it answers no pings.
    return this.#sockets.accept(request, reply, (socket) => this.#write(socket, deployment.id), { deaf: true });
  }

  #write(socket: WebSocket, id: string): void {
    let waiting: LogLine[] = [];
    let length = 0;
    let writing = false;
    let full = false;
    const flush = async () => {
      writing = true;
      await sleep(GATHER_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
      while (waiting.length > 0) {
        const lines = waiting;
        waiting = [];
        length = 0;
        if (socket.isPaused) socket.resume();
        full = !(await this.#append(id, lines, full));
      }
      writing = false;
    };
    socket.on("message", (data: Buffer) => {
      try {
        const line = parseLogLine(data.toString("utf8"), new Date());
        if (full && !isLastLine(line)) return;
        waiting.push(line);
        length += line.line.length + 64;
        if (length > UNWRITTEN) socket.pause();
        if (!writing) void flush();
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        hangUp(socket, CLOSE.refused, error.message);
      }
    });
  }

  /** False when the log is full from now on: then its last line alone is kept. */
  async #append(id: string, lines: readonly LogLine[], full: boolean): Promise<boolean> {
    const append = (part: readonly LogLine[], room: number) => this.persist(() => this.#database.write("appendDeploymentLog", { id, lines: JSON.stringify(part), room }));
    if (!full && (await append(lines, ROOM))) return !!this.wake(id);
    const notice = { line: `… the log is longer than ${ROOM / 2 ** 20} MiB; the rest of it is left out`, time: new Date().toISOString() };
    await append([...(full ? [] : [notice]), ...lines.filter(isLastLine)], ROOM + LAST_ROOM);
    this.wake(id);
    return false;
  }

  /** Tries until it is done or the server stops: a deployment does not come again to tell what became of it. */
  persist<T>(work: () => Promise<T>): Promise<T | undefined> {
    const done = this.#persist(work).finally(() => this.#writes.delete(done));
    this.#writes.add(done);
    return done;
  }

  async #persist<T>(work: () => Promise<T>): Promise<T | undefined> {
    do {
      try {
        return await work();
      } catch {
        await sleep(RETRY_MS, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {});
      }
    } while (!this.#stop.signal.aborted);
    return undefined;
  }

  /** Tells viewers on this process that there is something new. Always true. */
  wake(id: string): true {
    for (const resume of this.#viewers.get(id) ?? []) resume();
    return true;
  }

  /** Sends a log from its beginning, and what is added to it, until the deployment has ended. */
  view(request: FastifyRequest, reply: FastifyReply, deployment: Deployment): FastifyReply {
    return this.#sockets.accept(request, reply, (socket) => {
      // It has nothing to say.
      socket.on("message", () => {});
      this.#view(socket, deployment.id).catch(() => hangUp(socket, CLOSE.failed, "the log can't be read"));
    });
  }

  async #view(socket: WebSocket, id: string): Promise<void> {
    let after = 0;
    let last = false;
    while (socket.readyState === WebSocket.OPEN) {
      // Looked up before the lines: what came before its end is sent.
      const deployment = await this.#database.read("getDeployment", { id });
      const rows = await this.#database.read("readDeploymentLog", { id, after });
      for (const { position, lines } of rows) {
        for (const line of JSON.parse(lines) as LogLine[]) {
          if (!(await sent(socket, JSON.stringify(line)))) return;
          last ||= isLastLine(line);
        }
        after = position;
      }
      if (rows.length > 0) continue;
      const { status = "Cancelled", finished = null } = deployment ?? {};
      if (last || status === "Cancelled" || (finished !== null && finished < Date.now() - LINGER_MS)) return hangUp(socket, CLOSE.done, "this is all");
      await this.#more(id);
    }
  }

  /** Resolves when there may be more lines. */
  async #more(id: string): Promise<void> {
    const viewers = this.#viewers.get(id) ?? new Set();
    this.#viewers.set(id, viewers);
    let resume!: () => void;
    const woken = new Promise<void>((resolve) => (resume = resolve));
    viewers.add(resume);
    const timer = setTimeout(resume, VIEW_MS).unref();
    await woken;
    clearTimeout(timer);
    viewers.delete(resume);
    if (viewers.size === 0) this.#viewers.delete(id);
  }

  /** Resolves when what was said is written down. */
  async close(): Promise<void> {
    this.#stop.abort();
    await sleep(0);
    await Promise.all(this.#writes);
  }
}

/** False when the viewer has gone. */
function sent(socket: WebSocket, text: string): Promise<boolean> {
  return new Promise((resolve) => socket.send(text, (error) => resolve(!error)));
}

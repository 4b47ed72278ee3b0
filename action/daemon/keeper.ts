import { fork, type ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { addMetrics, noMetrics, type DaemonSettings, type FromWorker, type Identity, type JobMetrics, type ToWorker } from "./settings.ts";

/** Connections that wait for a worker; more are refused. */
const MAX_WAITING = 512;
/** A worker that dies sooner than this after its start is not started again at once, ms. */
const TOO_SOON = 1_000;

/** Keeps one worker running: hands connections to it, and starts the next when it dies. */
export class Keeper {
  readonly #settings: DaemonSettings;
  readonly #identity: Identity | undefined;
  readonly #waiting: Socket[] = [];
  /** Handed to the worker, which has not said yet that it took them. */
  readonly #given = new Map<number, Socket>();
  #number = 0;
  /** Renewed tokens, by server. */
  readonly #tokens = new Map<number, string>();
  #worker: ChildProcess | undefined;
  #ready = false;
  #past = noMetrics();
  #current = noMetrics();
  #ended = false;
  #drained: ((metrics: JobMetrics) => void) | undefined;
  /** When the daemon was last of use, ms. */
  lastUse = Date.now();

  readonly #refused: (server: number) => void;

  /** @param refused told when a server does not take its token */
  constructor(settings: DaemonSettings, identity: Identity | undefined, refused: (server: number) => void) {
    this.#settings = settings;
    this.#refused = refused;
    this.#identity = identity;
    this.#start();
  }

  get metrics(): JobMetrics {
    return addMetrics(this.#past, this.#current);
  }

  give(socket: Socket): void {
    socket.on("error", () => {});
    if (this.#ready) this.#hand(socket);
    else if (this.#waiting.length < MAX_WAITING && !this.#ended) this.#waiting.push(socket);
    else socket.destroy();
  }

  renew(server: number, token: string): void {
    this.#tokens.set(server, token);
    if (this.#ready) this.#send({ type: "token", server, token });
  }

  /** Ends the worker once it has delivered what waits, or after `ms`. Returns what the job did. */
  async stop(ms: number): Promise<JobMetrics> {
    this.#ended = true;
    if (this.#ready) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms + 1_000);
        this.#drained = (metrics) => {
          this.#current = metrics;
          resolve();
        };
        this.#worker!.once("exit", () => resolve());
        this.#send({ type: "drain", ms });
      });
      clearTimeout(timer);
    }
    this.#worker?.kill("SIGKILL");
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    return this.metrics;
  }

  #start(): void {
    const started = Date.now();
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "mjs";
    const worker = fork(fileURLToPath(new URL(`./worker.${extension}`, import.meta.url)), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#worker = worker;
    worker.on("message", (message: FromWorker) => this.#hear(worker, message));
    worker.on("error", (error) => console.error(`the worker: ${error.message}`));
    worker.once("exit", (code, signal) => {
      this.#ready = false;
      // What it had taken and not delivered is lost with it.
      this.#past = addMetrics(this.#past, this.#current);
      this.#current = noMetrics();
      this.#waiting.push(...this.#given.values());
      this.#given.clear();
      if (this.#ended) return;
      console.error(`the worker ended (${signal ?? code}); starting another`);
      this.#past = addMetrics(this.#past, { ...noMetrics(), restarts: 1 });
      setTimeout(() => this.#ended || this.#start(), Date.now() - started < TOO_SOON ? TOO_SOON : 0);
    });
    this.#send({ type: "settings", settings: this.#settings, identity: this.#identity });
  }

  #hear(worker: ChildProcess, message: FromWorker): void {
    if (worker !== this.#worker) return;
    if (message.type === "ready") {
      this.#ready = true;
      for (const [server, token] of this.#tokens) this.#send({ type: "token", server, token });
      for (const socket of this.#waiting.splice(0)) this.#hand(socket);
    } else if (message.type === "took") {
      // The worker has a handle of its own; closing this one does not end the connection.
      this.#given.get(message.id)?.destroy();
      this.#given.delete(message.id);
    } else if (message.type === "refused") {
      this.#refused(message.server);
    } else if (message.type === "metrics") {
      this.lastUse = Date.now();
      this.#current = message.metrics;
    } else this.#drained?.(message.metrics);
  }

  #hand(socket: Socket): void {
    const id = ++this.#number;
    this.#given.set(id, socket);
    this.#send({ type: "connection", id }, socket);
  }

  #send(message: ToWorker, socket?: Socket): void {
    // A worker that has just died takes nothing; its end is dealt with where it is heard of.
    this.#worker!.send(message, socket, { keepOpen: true }, () => {});
  }
}

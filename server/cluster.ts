import cluster, { type Worker } from "node:cluster";
import type { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { openLog } from "./app.ts";
import type { Config } from "./config.ts";
import type { Log } from "./http/log.ts";
import { joinFigures, type Figures } from "./metrics.ts";
import { logLevel } from "./reconfigure.ts";
import { onHangup, watchConfig, type ConfigFiles } from "./reload.ts";
import { lastResort } from "./serve.ts";
import type { FromWorker, ToWorker } from "./worker.ts";

/** A worker that has ended is started again after so long; after twice as long each time it did not last. */
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 30_000;
const LASTING_MS = 60_000;
/** A worker that does not tell its metrics for so long is left out of them. */
const GATHER_MS = 2_000;

interface Running {
  /** Its words for people, as soon as it serves. */
  readonly ready: Promise<string>;
  readonly ended: Promise<{ code: number | null; signal: string | null; lived: number }>;
}

/**
 * Serves with several processes on this machine: workers (worker.ts) with one listening port, to which connections go in
 * turn, and one index. Starts those again that end by themselves, and ends all on SIGTERM or SIGINT.
 * @param files where the configuration comes from: their changes are taken over by all
 * @param print for people, not for logs
 * @returns the exit code, when all have ended
 */
export function supervise(config: Config, files: ConfigFiles, print: (text: string) => void): Promise<number> {
  return new Supervisor(config, files, print).run();
}

class Supervisor {
  readonly #started: Config;
  #config: Config;
  readonly #files: ConfigFiles;
  readonly #print: (text: string) => void;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #serving = new Set<Worker>();
  readonly #gathering = new Map<number, (figures: Figures) => void>();
  #nextId = 0;
  #failed = false;

  constructor(config: Config, files: ConfigFiles, print: (text: string) => void) {
    this.#started = config;
    this.#config = config;
    this.#files = files;
    this.#print = print;
    this.#log = openLog(config);
  }

  async run(): Promise<number> {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ stdio: ["ignore", "pipe", "inherit", "ipc"], serialization: "advanced" });
    process.on("SIGTERM", () => this.#end());
    process.on("SIGINT", () => this.#end());
    const watcher = watchConfig(this.#files, (config) => this.#take(config), (problem) => this.#tellAll({ say: "refused", problem }));
    onHangup(() => watcher.now());
    // The first one alone migrates the index, makes the keys and finds out whether it can serve at all.
    const first = this.#start(true);
    const welcome = await Promise.race([first.ready, first.ended]);
    if (typeof welcome !== "string") {
      await this.#log.drain();
      return welcome.code ?? 1;
    }
    this.#print(welcome);
    const others = Array.from({ length: this.#started.processes - 1 }, () => this.#start(false));
    await Promise.all([first, ...others].map((running) => this.#keep(running)));
    await this.#log.drain();
    return this.#failed ? 1 : 0;
  }

  /** @param repair whether it compares index and storages; one at the start does, and who follows one that has died */
  #start(repair: boolean): Running {
    const worker = cluster.fork();
    const started = performance.now();
    closeLost(worker);
    if (worker.process.stdout) relay(worker.process.stdout, this.#log);
    const ready = Promise.withResolvers<string>();
    worker.on("message", (message: FromWorker) => {
      if (message.say === "hello") {
        // As the others were started, or it could listen elsewhere; then as they are now.
        tell(worker, { say: "serve", config: this.#started, repair });
        if (this.#config !== this.#started) tell(worker, { say: "config", config: this.#config });
      } else if (message.say === "metrics") void this.#answer(worker, message.id);
      else if (message.say === "figures") this.#gathering.get(message.id)?.(message.figures);
      else {
        this.#serving.add(worker);
        ready.resolve(message.welcome);
        if (this.#stop.signal.aborted) tell(worker, { say: "stop" });
      }
    });
    const ended = new Promise<Awaited<Running["ended"]>>((resolve) => {
      const end = (code: number | null, signal: string | null) => {
        this.#serving.delete(worker);
        resolve({ code, signal, lived: performance.now() - started });
      };
      worker.once("exit", end);
      // Without an id the system did not let it begin, and there will be no exit.
      worker.on("error", () => worker.process.pid === undefined && end(null, null));
    });
    return { ready: ready.promise, ended };
  }

  /** Resolves when the worker and all that took its place have ended and none is to follow. */
  async #keep(running: Running): Promise<void> {
    const { signal: stop } = this.#stop;
    for (let delay = FIRST_DELAY_MS; ; ) {
      const { code, signal, lived } = await running.ended;
      if (stop.aborted) {
        this.#failed ||= code !== 0;
        return;
      }
      delay = lived > LASTING_MS ? FIRST_DELAY_MS : Math.min(delay * 2, LONGEST_DELAY_MS);
      this.#log.error("a process has ended by itself and is started again", { code, signal, delay });
      await wait(delay, undefined, { signal: stop }).catch(() => {});
      if (stop.aborted) return;
      running = this.#start(true);
    }
  }

  #take(config: Config): void {
    this.#config = config;
    this.#log.setLevel(logLevel(config));
    this.#tellAll({ say: "config", config });
  }

  #tellAll(message: ToWorker): void {
    for (const worker of Object.values(cluster.workers ?? {})) if (worker) tell(worker, message);
  }

  #end(): void {
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const kill = () => workers.forEach((worker) => worker.process.kill("SIGKILL"));
    if (this.#stop.signal.aborted) return kill();
    this.#stop.abort();
    this.#tellAll({ say: "stop" });
    setTimeout(kill, lastResort(this.#config)).unref();
  }

  async #answer(worker: Worker, id: number): Promise<void> {
    try {
      tell(worker, { say: "metrics", id, text: await this.#gather() });
    } catch (error) {
      // The worker gives the scrape up after a while.
      this.#log.error("the metrics of the processes do not fit together", { cause: String(error) });
    }
  }

  /** The metrics of all workers that answer. */
  async #gather(): Promise<string> {
    const id = this.#nextId++;
    const all: Figures[] = [];
    await new Promise<void>((resolve) => {
      const asked = [...this.#serving];
      const timer = setTimeout(resolve, GATHER_MS);
      this.#gathering.set(id, (figures) => {
        if (all.push(figures) < asked.length) return;
        clearTimeout(timer);
        resolve();
      });
      for (const worker of asked) tell(worker, { say: "figures", id });
    });
    this.#gathering.delete(id);
    return joinFigures(all);
  }
}

/** A worker that is gone is noticed by its end. */
function tell(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {});
}

/**
 * Node forgets a connection whose worker dies before it has taken it over, and the client would wait for ever. There is at
 * most one, because Node hands a worker the next one only when it has taken the last. Closing one that was taken does nothing.
 */
function closeLost(worker: Worker): void {
  const child = worker.process;
  const send = child.send.bind(child) as (...args: unknown[]) => boolean;
  let last: { close?: () => void } | undefined;
  child.send = (...args: unknown[]) => {
    if (args[1]) last = args[1] as typeof last;
    return send(...args);
  };
  worker.once("exit", () => last?.close?.());
}

/** Passes whole lines on: those of several processes that write to one pipe themselves get mixed. */
function relay(output: Readable, log: Log): void {
  let rest = "";
  output.setEncoding("utf8");
  output.on("data", (text: string) => {
    const end = text.lastIndexOf("\n");
    if (end === -1) {
      rest += text;
      return;
    }
    log.line(rest + text.slice(0, end));
    rest = text.slice(end + 1);
  });
  output.on("end", () => rest !== "" && log.line(rest));
}

import type { Config } from "./config.ts";
import type { Figures } from "./metrics.ts";
import { lastResort, serve, shutDown } from "./serve.ts";

/** What a worker says to its parent. */
export type FromWorker =
  | { readonly say: "hello" }
  | { readonly say: "ready"; readonly welcome: string }
  /** Asks for the metrics of all workers. */
  | { readonly say: "metrics"; readonly id: number }
  | { readonly say: "figures"; readonly id: number; readonly figures: Figures };

/** What a parent says to its workers. */
export type ToWorker =
  /** The parent has read the configuration for all: a file changed meanwhile must not make one differ from the others. */
  | { readonly say: "serve"; readonly config: Config; readonly repair: boolean }
  | { readonly say: "metrics"; readonly id: number; readonly text: string }
  /** Asks for the worker's own metrics. */
  | { readonly say: "figures"; readonly id: number }
  /** The configuration has changed. */
  | { readonly say: "config"; readonly config: Config }
  | { readonly say: "refused"; readonly problem: string }
  | { readonly say: "stop" };

/** Longest wait for the parent's answer to a scrape, ms. */
const PATIENCE_MS = 5_000;

/** One of several processes that serve together; see cluster.ts. Ends the process when it is told to stop. @throws what serve throws */
export async function work(): Promise<void> {
  const begun = Promise.withResolvers<ToWorker & { say: "serve" }>();
  const scrapes = new Map<number, (text: string) => void>();
  let stopping = false;

  const stop = async () => {
    if (stopping) return;
    stopping = true;
    const { config } = await begun.promise;
    setTimeout(() => process.exit(1), lastResort(config)).unref();
    const server = await running;
    await shutDown(server, server.reconfiguration.current);
    process.exit(0);
  };
  process.on("message", (message: ToWorker) => {
    if (message.say === "serve") begun.resolve(message);
    else if (message.say === "metrics") scrapes.get(message.id)?.(message.text);
    else if (message.say === "stop") void stop();
    else if (message.say === "config") running.then(({ reconfiguration }) => reconfiguration.take(message.config)).catch(() => {});
    else if (message.say === "refused") running.then(({ reconfiguration }) => reconfiguration.refuse(message.problem)).catch(() => {});
    else running.then(({ metrics }) => metrics.figures()).then((figures) => tell({ say: "figures", id: message.id, figures }), () => {});
  });
  process.on("SIGTERM", () => void stop());
  // From a terminal it reaches the parent too, and the parent decides.
  process.on("SIGINT", () => {});
  process.on("SIGHUP", () => {});

  let nextId = 0;
  const together = () =>
    new Promise<string>((resolve, reject) => {
      const id = nextId++;
      const timer = setTimeout(() => (scrapes.delete(id), reject(new Error("the parent does not answer"))), PATIENCE_MS);
      scrapes.set(id, (text) => {
        clearTimeout(timer);
        scrapes.delete(id);
        resolve(text);
      });
      tell({ say: "metrics", id });
    });
  const running = begun.promise.then(async ({ config, repair }) => {
    const server = await serve(config, (welcome) => tell({ say: "ready", welcome }), { repair });
    server.metrics.together = together;
    return server;
  });
  tell({ say: "hello" });
  await running;
}

/** A parent that is gone takes the worker with it, so nobody needs to be told. */
function tell(message: FromWorker): void {
  process.send!(message, undefined, undefined, () => {});
}

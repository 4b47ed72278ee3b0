import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { loadConfig, type Config } from "./config.ts";

/**
 * How often the files are read for changes, ms. Their contents are compared: Kubernetes swaps a directory's symlink when it
 * updates a ConfigMap or a Secret, which no notification about the file itself tells.
 */
const POLL_MS = 2_000;
/** A file that is just being written has changed again after this, ms. */
const SETTLE_MS = 200;

/** The configuration and the files it comes from: the configuration file, and those that `…_FILE` variables name. */
export class ConfigFiles {
  readonly #sources: Omit<Parameters<typeof loadConfig>[0], "readFile">;
  /** Contents by path, hashed: they hold secrets. */
  readonly #loaded = new Map<string, string>();

  constructor(sources: Omit<Parameters<typeof loadConfig>[0], "readFile">) {
    this.#sources = sources;
  }

  /** Reads them all. @throws config */
  load(): Config {
    const readFile = (path: string) => {
      const text = readFileSync(path, "utf8");
      this.#loaded.set(path, digest(text));
      return text;
    };
    return loadConfig({ ...this.#sources, readFile });
  }

  /** Whether there is any file to look at. */
  get any(): boolean {
    return this.#loaded.size > 0;
  }

  /** What they hold by now, as one text to compare. Never rejects: a file that can't be read is a change too. */
  async state(): Promise<string> {
    const states = [...this.#loaded.keys()].map((path) => readFile(path, "utf8").then(digest, (error: NodeJS.ErrnoException) => error.code));
    return (await Promise.all(states)).join();
  }

  /** What they held when they were loaded. */
  get loaded(): string {
    return [...this.#loaded.values()].join();
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}

export interface Watcher {
  /** Loads the configuration again, changed or not. */
  now(): void;
  stop(): void;
}

/** SIGHUP means to load the configuration again, but for a server in a terminal, which it tells that the terminal is gone. */
export function onHangup(reload: () => void): void {
  if (!process.stdout.isTTY) process.on("SIGHUP", reload);
}

/**
 * Watches the configuration's files. A change is told once, when it has settled: as a configuration to take over, or as what
 * is wrong with it.
 */
export function watchConfig(files: ConfigFiles, take: (config: Config) => void, refuse: (problem: string) => void, poll = POLL_MS): Watcher {
  let seen = files.loaded;
  let checking = false;

  const load = () => {
    try {
      const config = files.load();
      seen = files.loaded;
      take(config);
    } catch (error) {
      refuse((error as Error).message);
    }
  };
  const check = async () => {
    const state = await files.state();
    if (state === seen) return;
    await wait(SETTLE_MS, undefined, { ref: false });
    if ((await files.state()) !== state) return;
    seen = state;
    load();
  };
  const timer = setInterval(() => {
    if (checking) return;
    checking = true;
    void check().finally(() => (checking = false));
  }, poll).unref();
  if (!files.any) clearInterval(timer);
  return { now: load, stop: () => clearInterval(timer) };
}

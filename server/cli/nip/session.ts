import { Servers, type Found, type Problem, type Server } from "../../../action/client/servers.ts";
import type { Io } from "../io.ts";
import { printable } from "../table.ts";
import { LocalDirectory } from "./local.ts";
import { Progress } from "./progress.ts";
import { loadSettings, localSettings, type ClientOptions, type Settings } from "./settings.ts";
import { ExpiryNotices } from "./whoami.ts";

export interface TransferOptions extends ClientOptions {
  readonly strict?: boolean;
  readonly quiet?: boolean;
}

/** What became of one key. */
export interface Outcome {
  /** First word of its line. */
  readonly word: "hit" | "miss" | "pushed" | "unchanged" | "skipped" | "failed";
  readonly key: string;
  /** Where it is, or why not. */
  readonly detail: string;
}

const TOGETHER = 4;

/** One run of push or pull: its settings, servers and local directory, and what it says. */
export class Session {
  readonly io: Io;
  readonly settings: Settings;
  readonly servers: Servers;
  readonly local: LocalDirectory;
  readonly progress: Progress;
  readonly notices: ExpiryNotices;

  constructor(io: Io, settings: Settings, keys: number, quiet: boolean) {
    this.io = io;
    this.settings = settings;
    this.servers = new Servers(settings.enabled ? settings.servers : []);
    this.local = new LocalDirectory(settings.directory);
    this.progress = new Progress(io.stderr, keys, quiet);
    this.notices = new ExpiryNotices(io);
  }

  /** Asks servers by priority, as Servers.first, for no longer than a key may take, and tells the reader what went wrong. */
  async first<T>(key: string, ask: (server: Server, signal: AbortSignal) => Promise<T | undefined>): Promise<{ found: Found<T> | undefined; problems: Problem[] }> {
    const signal = AbortSignal.timeout(this.settings.timeout);
    const problems: Problem[] = [];
    const found = await this.servers.first(
      async (server) => {
        this.notices.ask(server);
        return ask(server, signal);
      },
      (problem) => {
        problems.push(problem);
        if (problem.kind !== "resting") this.progress.note(`${key}: ${problem.server.url}: ${problem.message}`);
      },
    );
    return { found, problems };
  }

  /** Works on keys, a few at once, and prints a line for each as it is done. */
  async each(keys: readonly string[], work: (key: string) => Promise<Outcome>): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const left = keys.values();
    const worker = async () => {
      for (const key of left) {
        const outcome = await work(key).catch((error: unknown): Outcome => ({ word: "failed", key, detail: (error as Error).message }));
        outcomes.push(outcome);
        this.progress.finish();
        this.progress.clear();
        this.io.stdout.write(`${printable(`${outcome.word} ${key} ${outcome.detail}`.trim())}\n`);
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, worker));
    this.progress.end();
    await this.notices.say();
    return outcomes;
  }
}

/** The settings for a command that must not fail a build: what is wrong with them is said, and then there is the local directory alone. @throws config in a strict run */
export function settingsFor(options: TransferOptions, io: Io): Settings {
  try {
    return loadSettings(options, io);
  } catch (error) {
    if (options.strict) throw error;
    io.stderr.write(`${(error as Error).message}\nGoing on without servers.\n`);
    return localSettings(options, io);
  }
}

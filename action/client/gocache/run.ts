import { mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { Servers } from "../servers.ts";
import { Bundle } from "./bundle.ts";
import { GoCache } from "./cache.ts";
import { Figures } from "./figures.ts";
import { DEFAULT_LABEL, fillIn, parentWords, type Words } from "./label.ts";
import { Log } from "./log.ts";
import { Placer } from "./placer.ts";
import { exposition, push } from "./metrics.ts";
import { startProfiles, Trace } from "./profiles.ts";
import { formatResponse, RequestParser, type Request, type Response, type Sink } from "./protocol.ts";
import { readRecent, writeRecent } from "./recent.ts";
import { Remote } from "./remote.ts";
import { defaultDirectory, help, readSettings, type Settings } from "./settings.ts";
import { DiskStore } from "./store.ts";
import { summary } from "./summary.ts";
import { trim } from "./trim.ts";
import { Uploads } from "./uploads.ts";

export interface Surroundings {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** The process that started us. */
  readonly parent: number;
}

/** A server that does not answer costs this once, ms; after it the breaker keeps others from waiting. */
const CONNECT_MS = 2_000;

/** One run of the helper, from go's start of it to its end. @returns the exit code */
export async function run(around: Surroundings): Promise<number> {
  if (around.args.some((word) => word === "--help" || word === "-h")) {
    around.stdout.write(help());
    return 0;
  }
  const { settings, problems } = readSettings(around.args, around.env);
  return new Helper(settings, problems, around).run();
}

class Helper {
  readonly #around: Surroundings;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #figures = new Figures();
  readonly #trace: Trace;
  readonly #store: DiskStore;
  readonly #placer: Placer;
  readonly #remote: Remote;
  readonly #uploads: Uploads | undefined;
  readonly #bundle: Bundle;
  readonly #cache: GoCache;
  readonly #label: string;
  #finished: Promise<void> | undefined;

  constructor(settings: Settings, problems: readonly string[], around: Surroundings) {
    this.#settings = settings;
    this.#around = around;
    this.#log = new Log(settings.logLevel, settings.logFile);
    for (const problem of problems) this.#log.say("warn", `${problem}; the default is used. See stowhouse gocacheprog --help`);
    this.#trace = new Trace(settings.trace);
    const { args: _, env, parent } = around;
    const words = { env, platform: process.platform, arch: process.arch, ...parentWords(parent) };
    this.#store = openStore(settings.directory || defaultDirectory(env), this.#log);
    this.#placer = new Placer(this.#store.root);
    this.#label = this.#filled(settings.label, DEFAULT_LABEL, words);
    const prefix = this.#filled(settings.prefix, "", words);
    const servers = settings.server.split(",").map((url) => url.trim()).filter((url) => url !== "")
      .map((url, priority) => ({ url, priority, enabled: true, token: settings.token || undefined }));
    const patience = { connect: Math.min(CONNECT_MS, settings.getTimeout), answer: settings.getTimeout, stall: settings.getTimeout };
    this.#remote = new Remote(new Servers(servers), prefix, { get: patience, put: { ...patience, answer: settings.putTimeout, stall: settings.putTimeout } }, (message) => this.#log.say("warn", `${message}; the build goes on`));
    const writes = !settings.disablePut;
    this.#uploads = writes && !settings.readOnly && this.#remote.present ? new Uploads(this.#remote, settings.uploads, settings.minUpload) : undefined;
    const bundled = this.#remote.present && !settings.bundle && !settings.disableGet;
    this.#bundle = bundled ? new Bundle(settings.memory) : Bundle.none();
    this.#cache = new GoCache({
      store: this.#store, placer: this.#placer, remote: this.#remote, bundle: this.#bundle, uploads: this.#uploads, figures: this.#figures, prefix, writes, reads: !settings.disableGet,
      log: (level, message) => this.#log.say(level, message),
    });
    if (bundled) void this.#prefetch();
  }

  #filled(template: string, standard: string, words: Words): string {
    try {
      return fillIn(template, words);
    } catch (error) {
      this.#log.say("warn", `${(error as Error).message}; the default is used`);
      return fillIn(standard, words);
    }
  }

  async #prefetch(): Promise<void> {
    const began = performance.now();
    const have = readRecent(this.#store.root);
    void this.#bundle.list.then(() => this.#trace.span("bundle's list", began, {}));
    const streaming = this.#bundle.run(this.#remote, this.#label, have, this.#cache);
    // All of it will come.
    if (have.length === 0) this.#placer.start();
    const problem = await streaming;
    const { records, bytes } = this.#bundle.received;
    this.#trace.span("bundle", began, { label: this.#label, records, bytes, problem });
    this.#log.say("debug", problem ?? `the bundle ${this.#label} has brought ${records} outputs, ${bytes} bytes`);
  }

  async run(): Promise<number> {
    const { stdin, stdout } = this.#around;
    stdout.write(formatResponse({ ID: 0, KnownCommands: this.#cache.commands }));
    const { cpuProfile: cpu, heapProfile: heap } = this.#settings;
    const profiles = await startProfiles({ cpu, heap });
    const parser = new RequestParser((request) => this.#handle(request));
    for await (const chunk of stdin as AsyncIterable<Buffer>) parser.push(chunk);
    await this.#finish();
    await profiles.stop().catch((error: Error) => this.#log.say("warn", `a profile could not be written: ${error.message}`));
    this.#trace.close();
    return 0;
  }

  #respond(response: Response): void {
    this.#around.stdout.write(formatResponse(response));
  }

  #handle(request: Request): Sink | undefined {
    const began = performance.now();
    const traced = (response: Response) => {
      this.#trace.span(request.command, began, { action: request.action, miss: response.Miss, error: response.Err, size: response.Size });
      this.#respond(response);
    };
    switch (request.command) {
      case "get":
        void this.#cache.get(request).then(traced);
        return undefined;
      case "put":
        return this.#cache.put(request, traced);
      case "close":
        void this.#finish().then(() => traced({ ID: request.id }));
        return undefined;
      default:
        this.#respond({ ID: request.id, Err: `this cache knows no ${request.command}` });
        return undefined;
    }
  }

  /** Delivers and tidies up, once; never throws and never takes longer than the drain time and a moment. */
  #finish(): Promise<void> {
    return (this.#finished ??= this.#end());
  }

  async #end(): Promise<void> {
    const { drain, maxAge, maxSize, stats } = this.#settings;
    this.#bundle.stop();
    this.#placer.stop();
    const { used } = this.#cache;
    const manifest = this.#uploads && used.size > 0 && !this.#bundle.listed(used) ? this.#remote.manifest(this.#label, [...used], AbortSignal.timeout(Math.max(drain, 1))) : undefined;
    await Promise.all([manifest?.catch(() => false), this.#uploads?.drain(drain)]);
    const undelivered = this.#uploads?.figures.undelivered ?? 0;
    if (undelivered > 0) this.#log.say("warn", `${undelivered} outputs could not be uploaded within the drain time; they are built again elsewhere`);
    try {
      writeRecent(this.#store.root, used);
      const trimmed = trim(this.#store.root, { maxAge, maxSize });
      if (trimmed && trimmed.removed > 0) this.#log.say("debug", `${trimmed.removed} files of the disk store were not used for long: ${trimmed.bytes} bytes`);
    } catch (error) {
      this.#log.say("debug", `the disk store could not be trimmed: ${(error as Error).message}`);
    }
    const { user, system } = process.cpuUsage();
    const text = summary(this.#figures, this.#uploads?.figures, this.#bundle.received, user + system);
    if (stats) this.#log.always(text);
    else this.#log.say("info", text);
    await this.#push();
  }

  async #push(): Promise<void> {
    const { pushEndpoint: endpoint, pushMethod: method, pushPlain, pushHistograms: vmHistograms, pushLabels: labels, pushHeaders: headers } = this.#settings;
    if (endpoint === "") return;
    try {
      await push(exposition(this.#figures, this.#uploads?.figures, { labels, vmHistograms }), { endpoint, method, gzip: !pushPlain, vmHistograms, labels, headers });
    } catch (error) {
      this.#log.say("warn", `the metrics could not be pushed: ${(error as Error).message}`);
    }
  }
}

/** The disk store; a directory that can't be written is replaced by one that is thrown away with the machine. */
function openStore(directory: string, log: Log): DiskStore {
  const booted = Date.now() - os.uptime() * 1000;
  try {
    return new DiskStore(directory, booted);
  } catch (error) {
    const instead = mkdtempSync(path.join(os.tmpdir(), "stowhouse-go-"));
    log.say("warn", `${directory} can't be used (${(error as Error).message}); outputs are kept in ${instead}`);
    return new DiskStore(instead, booted);
  }
}

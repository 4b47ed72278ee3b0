import { spawn } from "node:child_process";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { StreamInflater, Undecodable, type Inflater, type Plain } from "../inflate.ts";

/** The system has no tool for this compression. */
export class NoTool extends Error {}

export type Inflatable = "zstd" | "gzip" | "xz" | "bzip2";

/** A tool that neither takes nor gives anything for so long is ended, ms. */
const TOOL_PATIENCE = 60_000;
/** The system's tools, with no more RAM than NARs made by Nix need. */
const TOOLS = { xz: ["-dc", "-T1", "-q", "--memlimit-decompress=256MiB"], bzip2: ["-dc", "-q"] } as const;

/** @param onPlain what it throws ends the inflating, and is thrown by the next call */
export function inflater(compression: Inflatable, onPlain: Plain): Inflater {
  if (compression === "zstd") return new ZstdInflater(onPlain);
  return compression === "gzip" ? new StreamInflater(createGunzip(), onPlain) : new ToolInflater(compression, TOOLS[compression], onPlain);
}

/** node:zlib stops after the first zstd frame and says nothing; files of several frames are common (pzstd, joined parts). */
class ZstdInflater implements Inflater {
  readonly #onPlain: Plain;
  #frame: StreamInflater;

  constructor(onPlain: Plain) {
    this.#onPlain = onPlain;
    this.#frame = new StreamInflater(createZstdDecompress(), onPlain);
  }

  async write(chunk: Buffer): Promise<void> {
    for (let rest = chunk; ; ) {
      const { decoder } = this.#frame;
      const before = decoder.bytesWritten;
      await this.#frame.write(rest);
      rest = rest.subarray(decoder.bytesWritten - before);
      if (rest.length === 0) return;
      // The frame ended within the chunk.
      if (rest.length === chunk.length && before === 0) throw new Undecodable("no zstd frame");
      await this.#frame.end();
      this.#frame = new StreamInflater(createZstdDecompress(), this.#onPlain);
    }
  }

  end(): Promise<void> {
    return this.#frame.end();
  }

  destroy(): void {
    this.#frame.destroy();
  }
}

class ToolInflater implements Inflater {
  readonly #child;
  readonly #closed: Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #failure: unknown;

  constructor(tool: string, args: readonly string[], onPlain: Plain) {
    const child = spawn(tool, args, { stdio: ["pipe", "pipe", "ignore"] });
    this.#child = child;
    this.#timer = setTimeout(() => this.#fail(new Undecodable(`${tool} made no progress`)), TOOL_PATIENCE);
    child.once("error", (error: NodeJS.ErrnoException) => this.#fail(error.code === "ENOENT" ? new NoTool(tool) : error));
    // It has ended before it read everything: its exit code says why.
    child.stdin.on("error", () => {});
    child.stdout.on("data", (chunk: Buffer) => {
      this.#timer.refresh();
      try {
        onPlain(chunk);
      } catch (error) {
        this.#fail(error);
      }
    });
    this.#closed = new Promise((resolve) => {
      child.once("close", (code) => {
        clearTimeout(this.#timer);
        if (code !== 0) this.#failure ??= new Undecodable(`${tool} can't read it`);
        resolve();
      });
    });
  }

  async write(chunk: Buffer): Promise<void> {
    this.#timer.refresh();
    const { stdin } = this.#child;
    if (this.#failure === undefined && !stdin.write(chunk)) await Promise.race([new Promise<void>((done) => stdin.once("drain", done)), this.#closed]);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
    if (this.#failure !== undefined) throw this.#failure;
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#child.stdin.destroy();
    this.#child.kill("SIGKILL");
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.destroy();
  }
}

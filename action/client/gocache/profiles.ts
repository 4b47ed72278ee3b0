import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import type { Session } from "node:inspector/promises";

/** Profiles of one run, for whoever wants to know what it spends its time on. */
export interface Profiles {
  stop(): Promise<void>;
}

/** @param files where to write them; none when empty */
export async function startProfiles({ cpu, heap }: { cpu: string; heap: string }): Promise<Profiles> {
  if (cpu === "" && heap === "") return { stop: async () => {} };
  const { Session } = await import("node:inspector/promises");
  const session: Session = new Session();
  session.connect();
  if (cpu !== "") {
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
  }
  if (heap !== "") await session.post("HeapProfiler.startSampling");
  return {
    stop: async () => {
      if (cpu !== "") writeFileSync(cpu, JSON.stringify((await session.post("Profiler.stop")).profile));
      if (heap !== "") writeFileSync(heap, JSON.stringify((await session.post("HeapProfiler.stopSampling")).profile));
      session.disconnect();
    },
  };
}

/** A trace of requests in Chrome's format, written as they end: chrome://tracing and Perfetto show it. */
export class Trace {
  readonly #fd: number | undefined;
  #first = true;

  constructor(file: string) {
    this.#fd = file === "" ? undefined : opened(file);
    this.#write("[");
  }

  /** @param began `performance.now()` at its begin */
  span(name: string, began: number, args: Readonly<Record<string, unknown>>): void {
    if (this.#fd === undefined) return;
    const event = { name, ph: "X", pid: process.pid, tid: 1, ts: Math.round(began * 1000), dur: Math.round((performance.now() - began) * 1000), args };
    this.#write(`${this.#first ? "\n" : ",\n"}${JSON.stringify(event)}`);
    this.#first = false;
  }

  close(): void {
    this.#write("\n]\n");
    if (this.#fd !== undefined) closeSync(this.#fd);
  }

  #write(text: string): void {
    if (this.#fd !== undefined) writeSync(this.#fd, text);
  }
}

/** Undefined when it can't be written, which is no reason to end a build. */
function opened(file: string): number | undefined {
  try {
    return openSync(file, "w");
  } catch {
    return undefined;
  }
}

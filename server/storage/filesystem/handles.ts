import fs from "node:fs";
import { MissingBlob } from "../store.ts";
import type { Layout } from "./layout.ts";
import { close, codeOf, fstat, open } from "./system.ts";

/** An open file, shared by its users. */
export interface Handle {
  readonly name: string;
  readonly fd: number;
  /** Bytes the file held when it was opened. */
  readonly size: number;
}

interface Slot extends Handle {
  fd: number;
  size: number;
  users: number;
  /** Still found by name; false once the blob is removed. */
  kept: boolean;
  /** Used since the last look for idle ones. */
  fresh: boolean;
  opened: Promise<void>;
}

/**
 * Open files by name, least recently used first. A descriptor is closed only when it has no user: its number is reused at
 * once, and a read under way would return another file's bytes.
 */
export class Handles {
  readonly #layout: Pick<Layout, "file">;
  readonly #limit: number;
  readonly #slots = new Map<string, Slot>();
  readonly #timer: NodeJS.Timeout;

  /**
   * @param limit of files kept open while nobody uses them
   * @param idle milliseconds after which an unused file is closed: another server may have deleted it, and its space is
   * free only then
   */
  constructor(layout: Pick<Layout, "file">, limit: number, idle: number) {
    this.#layout = layout;
    this.#limit = limit;
    this.#timer = setInterval(() => this.#closeIdle(), idle);
    this.#timer.unref();
  }

  /** Every handle must be released once. @throws MissingBlob */
  async acquire(name: string): Promise<Handle> {
    let slot = this.#slots.get(name);
    if (slot) this.#slots.delete(name);
    else slot = this.#open(name);
    this.#slots.set(name, slot);
    slot.users++;
    slot.fresh = true;
    try {
      await slot.opened;
    } catch (error) {
      if (this.#slots.get(name) === slot) this.#slots.delete(name);
      throw error;
    }
    this.#trim();
    return slot;
  }

  release(handle: Handle): void {
    const slot = handle as Slot;
    slot.users--;
    if (slot.users > 0) return;
    if (slot.kept) this.#trim();
    else closeFile(slot);
  }

  /** Forgets a removed blob; its file is closed with its last user. */
  forget(name: string): void {
    const slot = this.#slots.get(name);
    if (!slot) return;
    this.#slots.delete(name);
    slot.kept = false;
    if (slot.users === 0) closeFile(slot);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const name of this.#slots.keys()) this.forget(name);
  }

  #open(name: string): Slot {
    const slot: Slot = { name, fd: -1, size: 0, users: 0, kept: true, fresh: true, opened: Promise.resolve() };
    slot.opened = this.#fill(slot);
    return slot;
  }

  async #fill(slot: Slot): Promise<void> {
    const file = this.#layout.file(slot.name);
    if (file === undefined) throw new MissingBlob(slot.name);
    const fd = await open(file, fs.constants.O_RDONLY).catch((error: unknown) => {
      throw codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR" ? new MissingBlob(slot.name) : error;
    });
    try {
      slot.size = (await fstat(fd)).size;
      slot.fd = fd;
    } catch (error) {
      await close(fd);
      throw error;
    }
  }

  #trim(): void {
    if (this.#slots.size <= this.#limit) return;
    for (const [name, slot] of this.#slots) {
      if (slot.users === 0) this.forget(name);
      if (this.#slots.size <= this.#limit) return;
    }
  }

  #closeIdle(): void {
    for (const [name, slot] of this.#slots) {
      if (slot.users === 0 && !slot.fresh) this.forget(name);
      slot.fresh = false;
    }
  }
}

function closeFile(slot: Slot): void {
  close(slot.fd).catch(() => {});
}

import crypto from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { codeOf, removeFile, rename, syncDirectory } from "./system.ts";

const CACHE = /^[a-z0-9][a-z0-9-]{0,62}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const FAN_OUT = /^[0-9a-f]{2}$/;
const FILE = /^[0-9a-f]{64}\.[0-9a-f]{24}$/;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}\/([0-9a-f]{2})\/\1[0-9a-f]{62}\.[0-9a-f]{24}$/;
const TEMPORARY = /^[0-9a-f]{24}$/;

export const isCache = (cache: string): boolean => CACHE.test(cache);
export const isDigest = (digest: string): boolean => DIGEST.test(digest);
export const isTemporary = (file: string): boolean => TEMPORARY.test(file);
/** 96 random bits: no two writes get the same name. */
export const randomPart = (): string => crypto.randomBytes(12).toString("hex");

/**
 * Where files lie: blobs in `<root>/<cache>/<ab>/<digest>.<random>`, unfinished ones in `<root>/tmp/<random>`, in the same
 * filesystem so that a rename publishes. A cache may be called "tmp": its files lie in directories of two digits, which no
 * temporary file is named like.
 */
export class Layout {
  readonly root: string;
  readonly temporary: string;
  /** Temporary files of writes under way in this process. */
  readonly unfinished = new Set<string>();
  /** Directories of this process's blobs that are known to be durable, or about to be. */
  readonly #directories = new Map<string, Promise<void>>();

  constructor(root: string) {
    this.root = path.resolve(root);
    this.temporary = path.join(this.root, "tmp");
  }

  /** Makes what is missing, durably: a root whose own name is lost takes every blob with it. */
  async prepare(): Promise<void> {
    const first = (await fs.mkdir(this.temporary, { recursive: true })) ?? this.temporary;
    let directory = this.temporary;
    do {
      directory = path.dirname(directory);
      await syncDirectory(directory);
    } while (directory.length >= first.length);
  }

  /** The path of a blob, or undefined for a name this layout never gives, which therefore names nothing. */
  file(name: string): string | undefined {
    return NAME.test(name) ? path.join(this.root, name) : undefined;
  }

  /** Gives a finished, synced temporary file its name. Durable when it returns; when it throws, the name does not exist. */
  async publish(temporary: string, cache: string, digest: string): Promise<string> {
    const name = `${cache}/${digest.slice(0, 2)}/${digest}.${path.basename(temporary)}`;
    const target = path.join(this.root, name);
    const directory = path.dirname(target);
    try {
      await this.#directory(directory);
      await rename(temporary, target);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      // Somebody tidied the directory away under us.
      this.#directories.delete(directory);
      this.#directories.delete(path.dirname(directory));
      await this.#directory(directory);
      await rename(temporary, target);
    }
    try {
      await syncDirectory(directory);
    } catch (error) {
      await removeFile(target).catch(() => {});
      throw error;
    }
    return name;
  }

  /**
   * Makes a blob's directory and its parent durable, once a process: one found on the disk may have been made by a process
   * that was killed before it synced the parent.
   */
  #directory(directory: string): Promise<void> {
    let made = this.#directories.get(directory);
    if (!made) {
      made = this.#make(directory);
      this.#directories.set(directory, made);
      made.catch(() => this.#directories.delete(directory));
    }
    return made;
  }

  async #make(directory: string): Promise<void> {
    const parent = path.dirname(directory);
    if (parent !== this.root) await this.#directory(parent);
    await fs.mkdir(directory).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    await syncDirectory(parent);
  }

  /** Names of all blobs, in pages of at most 128. */
  async *names(): AsyncGenerator<string[]> {
    for await (const cache of entries(this.root)) {
      if (!CACHE.test(cache)) continue;
      for await (const fan of entries(path.join(this.root, cache))) {
        if (!FAN_OUT.test(fan)) continue;
        let page: string[] = [];
        for await (const file of entries(path.join(this.root, cache, fan))) {
          if (!FILE.test(file) || !file.startsWith(fan)) continue;
          page.push(`${cache}/${fan}/${file}`);
          if (page.length === 128) {
            yield page;
            page = [];
          }
        }
        if (page.length > 0) yield page;
      }
    }
  }
}

/** What a directory holds, read piece by piece; nothing when it is gone or no directory. */
export async function* entries(directory: string): AsyncGenerator<string> {
  try {
    for await (const entry of await fs.opendir(directory, { bufferSize: 256 })) yield entry.name;
  } catch (error) {
    if (codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR") throw error;
  }
}

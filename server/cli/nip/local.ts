import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

const ARTIFACT = "artifact.tar.gz";
const METADATA = "metadata.json";
/** What a killed download left behind is swept after this, ms. */
const STALE = 24 * 60 * 60 * 1000;
const TEMPORARY = ".stowhouse-";

export interface LocalArtifact {
  readonly key: string;
  readonly path: string;
  readonly size: number;
  /** Last modified, ms. */
  readonly modified: number;
}

/** nip's local cache: `<key>/artifact.tar.gz` with `<key>/metadata.json` beside it. */
export class LocalDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The artifact of a key, or undefined. A key that can be no name of a directory has none. */
  async find(key: string): Promise<LocalArtifact | undefined> {
    if (!isLocalKey(key)) return undefined;
    const path = join(this.path, key, ARTIFACT);
    try {
      const { size, mtimeMs, isFile } = await stat(path).then((stats) => ({ size: stats.size, mtimeMs: stats.mtimeMs, isFile: stats.isFile() }));
      return isFile ? { key, path, size, modified: mtimeMs } : undefined;
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw error;
    }
  }

  /** Its metadata as text; an empty object where there is none. */
  async metadata(key: string): Promise<string> {
    try {
      return await readFile(join(this.path, key, METADATA), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "{}";
      throw error;
    }
  }

  /** All artifacts, by key. */
  async list(): Promise<LocalArtifact[]> {
    const names = await readdir(this.path).catch((error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? [] : Promise.reject(error)));
    const found: LocalArtifact[] = [];
    for (const key of names.toSorted((a, b) => (a < b ? -1 : 1))) {
      const artifact = await this.find(key);
      if (artifact) found.push(artifact);
    }
    return found;
  }

  /** Begins to write an artifact. Nothing of it is seen before `commit`. */
  async create(key: string): Promise<Incoming> {
    if (!isLocalKey(key)) throw new Error(`"${key}" can't be the name of a directory`);
    await mkdir(this.path, { recursive: true });
    const temporary = join(this.path, `${TEMPORARY}${randomBytes(8).toString("hex")}`);
    await mkdir(temporary);
    return new Incoming(temporary, join(this.path, key), await open(join(temporary, ARTIFACT), "wx"));
  }

  /** Removes what killed downloads left behind. Never throws. */
  async sweep(now = Date.now()): Promise<void> {
    const names = await readdir(this.path).catch(() => []);
    for (const name of names.filter((one) => one.startsWith(TEMPORARY))) {
      const path = join(this.path, name);
      const age = await stat(path).then(({ mtimeMs }) => now - mtimeMs, () => 0);
      if (age > STALE) await rm(path, { recursive: true, force: true }).catch(() => {});
    }
  }
}

/** Keys name directories here, so one that could leave this one, or hide in it, is none. */
export function isLocalKey(key: string): boolean {
  // eslint-disable-next-line no-control-regex
  return key !== "" && !key.startsWith(".") && !/[/\\\u0000-\u001f]/.test(key) && Buffer.byteLength(key) <= 255;
}

/** An artifact on its way in. */
export class Incoming {
  readonly #temporary: string;
  readonly #target: string;
  readonly #file: FileHandle;

  constructor(temporary: string, target: string, file: FileHandle) {
    this.#temporary = temporary;
    this.#target = target;
    this.#file = file;
  }

  async write(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) at += (await this.#file.write(chunk, at)).bytesWritten;
  }

  /** Puts it in place. The artifact goes last: where it is, its metadata is too. */
  async commit(metadata: string): Promise<void> {
    await writeFile(join(this.#temporary, METADATA), metadata, { flag: "wx" });
    // Without this, a power cut could leave the name of an artifact whose bytes never reached the disk.
    await this.#file.datasync();
    await this.#file.close();
    await mkdir(this.#target, { recursive: true });
    for (const name of [METADATA, ARTIFACT]) await rename(join(this.#temporary, name), join(this.#target, name));
    await rm(this.#temporary, { recursive: true, force: true });
  }

  /** Leaves no trace. Never throws. */
  async abort(): Promise<void> {
    await this.#file.close().catch(() => {});
    await rm(this.#temporary, { recursive: true, force: true }).catch(() => {});
  }
}

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, rmSync } from "node:fs";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import type { Env } from "../toolkit.ts";
import { storeDir, type StorePath } from "./built.ts";

/** A store path as the file that is sent. */
export interface Packed {
  readonly file: string;
  /** SHA-256 in hex and bytes of the file, and of what is in it. */
  readonly hash: string;
  readonly size: number;
  readonly narHash: string;
  readonly narSize: number;
}

/** Packs a path into a file of its own. @throws Error when it is not what the store has registered */
export async function pack(path: StorePath, { env, directory, signal }: { readonly env: Env; readonly directory: string; readonly signal: AbortSignal }): Promise<Packed> {
  const file = join(directory, `${path.name.slice(0, 32)}.nar.zst`);
  const [nar, whole] = [new Measure(), new Measure()];
  const dump = spawn("nix-store", ["--dump", join(storeDir(env), path.name)], { env, stdio: ["ignore", "pipe", "ignore"], signal });
  const end = new Promise<number | null>((resolve, reject) => dump.once("error", reject).once("close", resolve));
  try {
    await Promise.all([pipeline(dump.stdout, nar, createZstdCompress(), whole, createWriteStream(file, { mode: 0o600 }), { signal }), end]);
    if ((await end) !== 0 || nar.size !== path.narSize) throw new Error(`${path.name} can't be read`);
    if (path.narHash.startsWith("sha256-") && path.narHash !== `sha256-${nar.digest.toString("base64")}`) throw new Error(`${path.name} is damaged`);
    return { file, hash: whole.digest.toString("hex"), size: whole.size, narHash: nar.digest.toString("hex"), narSize: nar.size };
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  }
}

/** Counts and hashes what goes through. */
class Measure extends Transform {
  readonly #hash = createHash("sha256");
  size = 0;

  override _transform(chunk: Buffer, _: BufferEncoding, done: (error: null, chunk: Buffer) => void): void {
    this.#hash.update(chunk);
    this.size += chunk.length;
    done(null, chunk);
  }

  /** Once, when all went through. */
  get digest(): Buffer {
    return (this.#digest ??= this.#hash.digest());
  }

  #digest: Buffer | undefined;
}

/** The narinfo of a packed path: as Nix writes it, but for hashes in hex (nix.md §2.2). */
export function narInfo({ name, references, deriver, signatures, ca }: StorePath, nar: Packed, store: string): string {
  const lines = [
    `StorePath: ${store}/${name}`, `URL: nar/${nar.hash}.nar.zst`, "Compression: zstd", `FileHash: sha256:${nar.hash}`, `FileSize: ${nar.size}`, `NarHash: sha256:${nar.narHash}`, `NarSize: ${nar.narSize}`,
    `References: ${references.join(" ")}`, ...(deriver === undefined ? [] : [`Deriver: ${deriver}`]), ...signatures.map((signature) => `Sig: ${signature}`), ...(ca === undefined ? [] : [`CA: ${ca}`]),
  ];
  return `${lines.join("\n")}\n`;
}

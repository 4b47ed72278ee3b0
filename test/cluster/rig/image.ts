import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { copyFile, link } from "node:fs/promises";
import path from "node:path";
import { run } from "../../fixtures/tools.ts";

/** What the image of a stage says about its process: the part of a Dockerfile that the rig takes over. */
export interface ImageConfig {
  readonly Entrypoint: string[];
  readonly Cmd?: string[];
  readonly Env: string[];
  readonly User?: string;
  readonly WorkingDir?: string;
}

/** The last stage of a Dockerfile, so that the rig runs what users run. @throws when it has no entry point */
export function configOf(dockerfile: string): ImageConfig {
  const text = readFileSync(dockerfile, "utf8").replaceAll(/\\\n\s*/g, " ");
  const stage = text.slice(text.lastIndexOf("\nFROM ") + 1);
  const last = (word: string) => [...stage.matchAll(new RegExp(`^${word} (.*)$`, "gm"))].at(-1)?.[1];
  const array = (word: string) => JSON.parse(last(word) ?? "[]") as string[];
  const env = [...stage.matchAll(/^ENV (.*)$/gm)].flatMap(([, line]) => line!.trim().split(/\s+/));
  const [user, directory] = [last("USER"), last("WORKDIR")];
  if (last("ENTRYPOINT") === undefined) throw new Error(`${dockerfile}: the last stage has no ENTRYPOINT`);
  return {
    Entrypoint: array("ENTRYPOINT"), Cmd: array("CMD"), Env: ["PATH=/usr/local/bin:/usr/bin:/bin", ...env],
    ...(user === undefined ? {} : { User: user }), ...(directory === undefined ? {} : { WorkingDir: directory }),
  };
}

interface Described {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** A directory of images in OCI layout, which containerd imports without a registry. */
export class Images {
  readonly directory: string;
  readonly #manifests: object[] = [];

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(path.join(directory, "blobs", "sha256"), { recursive: true });
  }

  /** Adds an image of these layers, tar files. Returns its size, bytes. */
  async add(reference: string, layers: readonly string[], config: ImageConfig): Promise<number> {
    const described = [];
    for (const layer of layers) described.push(await this.#layer(layer));
    const image = this.#json("application/vnd.oci.image.config.v1+json", {
      architecture: process.arch === "x64" ? "amd64" : process.arch, os: "linux", config, rootfs: { type: "layers", diff_ids: described.map(({ digest }) => digest) },
    });
    const manifest = this.#json("application/vnd.oci.image.manifest.v1+json", { schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: image, layers: described });
    this.#manifests.push({ ...manifest, annotations: { "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.split(":").at(-1) } });
    writeFileSync(path.join(this.directory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    writeFileSync(path.join(this.directory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: this.#manifests }));
    return described.reduce((sum, { size }) => sum + size, 0);
  }

  async #layer(file: string): Promise<Described> {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
    const digest = hash.digest("hex");
    const place = path.join(this.directory, "blobs", "sha256", digest);
    // Several images share a layer; another file system can't.
    if (!existsSync(place)) await link(file, place).catch(() => copyFile(file, place));
    return { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: `sha256:${digest}`, size: statSync(file).size };
  }

  #json(mediaType: string, value: object): Described {
    const body = JSON.stringify(value);
    const digest = createHash("sha256").update(body).digest("hex");
    writeFileSync(path.join(this.directory, "blobs", "sha256", digest), body);
    return { mediaType, digest: `sha256:${digest}`, size: Buffer.byteLength(body) };
  }
}

/** A layer of everything in a directory, owned by root, the same bytes for the same files. */
export async function layer(directory: string, target: string): Promise<string> {
  await run("tar", ["-C", directory, "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sort=name", "-cf", target, "."], { timeout: 120_000 });
  return target;
}

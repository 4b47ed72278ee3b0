import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildOperator } from "../../../operator/build.mjs";
import { run, tool } from "../../fixtures/tools.ts";
import { pause } from "../tools.ts";
import { configOf, Images, layer } from "./image.ts";
import { rigHome } from "./processes.ts";

const root = path.resolve(import.meta.dirname, "../../..");

export const SERVER_IMAGE = "stowhouse.local/stowhouse:test";
/** The same bytes under a second name: what an upgrade of the image is for the cluster. */
export const NEXT_SERVER_IMAGE = "stowhouse.local/stowhouse:next";
export const OPERATOR_IMAGE = "stowhouse.local/stowhouse-operator:test";

export interface Built {
  readonly directory: string;
  readonly sizes: Readonly<Record<string, number>>;
}

/** Bundles server and operator, and makes the images of both and of the sandbox. */
export async function buildImages(): Promise<Built> {
  const images = new Images(path.join(rigHome(), "images"));
  const made = mkdtempSync(path.join(rigHome(), "image-"));
  const base = await nodeLayer();
  const bundled = async (name: string, bundle: (outdir: string) => Promise<unknown>, dockerfile: string) => {
    const directory = path.join(made, name);
    mkdirSync(path.join(directory, "data"), { recursive: true });
    chmodSync(path.join(directory, "data"), 0o777);
    await bundle(path.join(directory, "app", "build"));
    cpSync(path.join(root, "package.json"), path.join(directory, "app", "package.json"));
    return { layers: [base, await layer(directory, path.join(made, `${name}.tar`))], config: configOf(path.join(root, dockerfile)) };
  };
  const sandbox = path.join(made, "pause");
  mkdirSync(sandbox);
  cpSync(await pause(), path.join(sandbox, "pause"));
  const server = await bundled("server", (outdir) => run("npm", ["run", "--silent", "build", "--", `--outdir=${outdir}`], { cwd: root, timeout: 120_000 }), "Dockerfile");
  const operator = await bundled("operator", buildOperator, "operator/Dockerfile");
  const sizes = {
    pause: await images.add("stowhouse.local/pause:1", [await layer(sandbox, path.join(made, "pause.tar"))], { Entrypoint: ["/pause"], Env: [] }),
    server: await images.add(SERVER_IMAGE, server.layers, server.config),
    next: await images.add(NEXT_SERVER_IMAGE, server.layers, { ...server.config, Env: [...server.config.Env, "STOWHOUSE_TEST_IMAGE=next"] }),
    operator: await images.add(OPERATOR_IMAGE, operator.layers, operator.config),
  };
  rmSync(made, { recursive: true });
  return { directory: images.directory, sizes };
}

/** Node with the libraries it needs: what `node:24-bookworm-slim` is to the Dockerfiles, as small as it can be. */
async function nodeLayer(): Promise<string> {
  const directory = await tool(`cluster-node-${process.versions.node}`, async (making) => {
    const rootfs = path.join(making, "rootfs");
    const put = (from: string, to = from) => {
      mkdirSync(path.join(rootfs, path.dirname(to)), { recursive: true });
      cpSync(realpathSync(from), path.join(rootfs, to));
    };
    put(process.execPath, "/usr/local/bin/node");
    await run("strip", ["--strip-unneeded", path.join(rootfs, "usr/local/bin/node")], { timeout: 60_000 });
    const { stdout } = await run("ldd", [process.execPath]);
    for (const [library] of stdout.matchAll(/\/[^ ]+/g)) put(library);
    if (existsSync("/etc/ssl/certs/ca-certificates.crt")) put("/etc/ssl/certs/ca-certificates.crt");
    writeFileSync(path.join(rootfs, "etc/passwd"), "root:x:0:0::/:/bin/false\nstowhouse:x:10001:10001::/data:/bin/false\n");
    writeFileSync(path.join(rootfs, "etc/group"), "root:x:0:\nstowhouse:x:10001:\n");
    writeFileSync(path.join(rootfs, "etc/nsswitch.conf"), "hosts: files dns\n");
    mkdirSync(path.join(rootfs, "tmp"));
    chmodSync(path.join(rootfs, "tmp"), 0o1777);
    await layer(rootfs, path.join(making, "layer.tar"));
    rmSync(rootfs, { recursive: true });
  });
  return path.join(directory, readdirSync(directory)[0]!);
}

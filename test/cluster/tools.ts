import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { run, tool } from "../fixtures/tools.ts";

const here = import.meta.dirname;
const MINUTES = 60_000;

/** What the rig is made of: built from Go modules once a machine, outside the repository, named by what goes into it. */

const KUBERNETES = "1.35.4";

/** Without them every component calls itself v0.0.0, and the API server refuses to have been upgraded. */
const STAMPS = [
  ["k8s.io/component-base/version.gitVersion", `v${KUBERNETES}`],
  ["k8s.io/component-base/version.gitMajor", "1"],
  ["k8s.io/component-base/version.gitMinor", "35"],
  ["k8s.io/component-base/version.gitTreeState", "clean"],
  ["k8s.io/client-go/pkg/version.gitVersion", `v${KUBERNETES}`],
];

/** A directory with etcd (named server), kube-apiserver, -controller-manager, -scheduler, -proxy, kubelet and kubectl. Cold: 10 minutes of CPU. */
export function kubernetes(): Promise<string> {
  return goTools("k8s", KUBERNETES, STAMPS);
}

const HELM = "3.20.2";

/** A directory with helm and kubeconform. */
export function helm(): Promise<string> {
  return goTools("helm", HELM, [["helm.sh/helm/v3/internal/version.version", `v${HELM}`]]);
}

/** Builds the `tool` lines of a go.mod beside this file. */
async function goTools(module: string, version: string, stamps: readonly (readonly string[])[]): Promise<string> {
  const source = path.join(here, module);
  const flags = ["-trimpath", "-mod=readonly", "-ldflags", ["-s -w", ...stamps.map(([name, value]) => `-X ${name}=${value}`)].join(" ")];
  const key = createHash("sha256").update(JSON.stringify(flags));
  for (const file of ["go.mod", "go.sum"]) key.update(await readFile(path.join(source, file)));
  return tool(`cluster-${module}-${version}-${key.digest("hex").slice(0, 12)}`, async (making) => {
    await run("go", ["build", ...flags, "-o", `${making}/`, "tool"], { cwd: source, env: { ...process.env, CGO_ENABLED: "0" }, timeout: 40 * MINUTES, maxBuffer: 64 * 1024 * 1024 });
  });
}

/** Definitions of other projects' resources, from their Go modules: what the operator creates must be accepted by the real ones. */
const FOREIGN: readonly (readonly [module: string, directory: string])[] = [
  ["github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd"],
  ["sigs.k8s.io/gateway-api@v1.4.0", "config/crd/standard"],
  ["github.com/cert-manager/cert-manager@v1.19.1", "deploy/crds"],
];

/** A directory with a directory of CRDs a project: prometheus-operator, gateway-api, cert-manager. */
export function foreignCrds(): Promise<string> {
  const key = createHash("sha256").update(JSON.stringify(FOREIGN)).digest("hex").slice(0, 12);
  return tool(`cluster-crds-${key}`, async (making) => {
    for (const [module, directory] of FOREIGN) {
      // The modules' zips alone: nothing of them is built, and the go.mod of this repository's tools stays as it is.
      const { stdout } = await run("go", ["mod", "download", "-json", module], { cwd: making, timeout: 5 * MINUTES, maxBuffer: 16 * 1024 * 1024 });
      const target = path.join(making, module.split("@")[0]!.split("/").at(-1)!);
      await mkdir(target);
      const from = path.join((JSON.parse(stdout) as { Dir: string }).Dir, directory);
      for (const file of await readdir(from)) if (file.endsWith(".yaml")) await cp(path.join(from, file), path.join(target, file));
    }
  });
}

/** The binary of the sandbox container that holds a pod's namespaces. */
export async function pause(): Promise<string> {
  const source = path.join(here, "rig", "pause.c");
  const key = createHash("sha256").update(await readFile(source)).digest("hex").slice(0, 12);
  const directory = await tool(`cluster-pause-${key}`, async (making) => {
    await run("gcc", ["-Os", "-static", "-o", path.join(making, "pause"), source], { timeout: MINUTES });
  });
  return path.join(directory, "pause");
}

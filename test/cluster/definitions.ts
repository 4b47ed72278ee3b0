import { readdirSync } from "node:fs";
import path from "node:path";
import { run } from "../fixtures/tools.ts";
import { PROXY } from "./rig/control-plane.ts";
import { until } from "./rig/processes.ts";
import { list, type Condition } from "./cluster.ts";
import { kubernetes } from "./tools.ts";

const crds = path.resolve(import.meta.dirname, "../../crds");

/** Gives the cluster our definitions, as `kubectl apply` does, and waits until their resources can be made. */
export async function installDefinitions(directory = crds): Promise<void> {
  const files = readdirSync(directory).filter((file) => file.endsWith(".yaml")).flatMap((file) => ["-f", path.join(directory, file)]);
  await run(path.join(await kubernetes(), "kubectl"), ["--server", PROXY, "apply", "--server-side", "--force-conflicts", ...files], { timeout: 60_000 });
  await until("our resources can be made", 30, async () => {
    const ours = (await list("CustomResourceDefinition")).filter(({ spec }) => spec.group === "stowhouse.dev");
    return ours.length === 2 && ours.every(({ status }) => status.conditions.some(({ type, status: holds }: Condition) => type === "Established" && holds === "True"));
  });
}

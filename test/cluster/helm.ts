import path from "node:path";
import { run } from "../fixtures/tools.ts";
import { OPERATOR_IMAGE, SERVER_IMAGE } from "./rig/images.ts";
import { rigHome } from "./rig/processes.ts";
import { helm } from "./tools.ts";

const charts = path.resolve(import.meta.dirname, "../../charts");

/** helm, as administrator. Returns what it printed. */
export async function runHelm(...args: string[]): Promise<string> {
  const program = path.join(await helm(), "helm");
  const env = { ...process.env, KUBECONFIG: path.join(rigHome(), "admin.kubeconfig"), HELM_CACHE_HOME: path.join(rigHome(), "helm"), HELM_CONFIG_HOME: path.join(rigHome(), "helm"), HELM_DATA_HOME: path.join(rigHome(), "helm") };
  return (await run(program, args, { env, timeout: 180_000, maxBuffer: 16 * 1024 * 1024 })).stdout;
}

/** Values as arguments; what isn't a string is JSON. */
export function set(values: Record<string, unknown>): string[] {
  return Object.entries(values).flatMap(([name, value]) => (typeof value === "string" ? ["--set-string", `${name}=${value}`] : ["--set-json", `${name}=${JSON.stringify(value)}`]));
}

const [repository, tag] = OPERATOR_IMAGE.split(":") as [string, string];
const [serverRepository, serverTag] = SERVER_IMAGE.split(":") as [string, string];

/** The images of the rig, as values of our charts. */
export const OPERATOR_VALUES = { "image.repository": repository, "image.tag": tag, "serverImage.repository": serverRepository, "serverImage.tag": serverTag };
export const SERVER_VALUES = { "image.repository": serverRepository, "image.tag": serverTag };

/** Installs or upgrades a chart and waits until what it made is ready. @param chart a folder, default one of ours by name */
export function installChart(chart: "stowhouse" | "stowhouse-operator", release: string, namespace: string, values: Record<string, unknown> = {}, folder = path.join(charts, chart)): Promise<string> {
  const images = chart === "stowhouse" ? SERVER_VALUES : OPERATOR_VALUES;
  // Definitions outlive releases: the next release takes them over.
  return runHelm("upgrade", "--install", release, folder, "--namespace", namespace, "--wait", "--timeout", "120s", "--take-ownership", ...set({ ...images, ...values }));
}

export async function uninstallChart(release: string, namespace: string): Promise<void> {
  await runHelm("uninstall", release, "--namespace", namespace, "--wait", "--timeout", "60s");
}

import path from "node:path";
import { parseAllDocuments } from "yaml";
import { helm } from "../cluster/tools.ts";
import { run } from "../fixtures/tools.ts";

export const ROOT = path.resolve(import.meta.dirname, "../..");
export const VALUES = path.join(import.meta.dirname, "values");

export interface Rendered {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  // eslint-disable-next-line typescript/no-explicit-any
  [field: string]: any;
}

/** Runs helm. @throws with what it wrote when it fails */
export async function helmOutput(...args: string[]): Promise<string> {
  const { stdout } = await run(path.join(await helm(), "helm"), args, { cwd: ROOT, timeout: 60_000, maxBuffer: 32 * 1024 * 1024 });
  return stdout;
}

/** What a chart installs, as text. A helm that was built from source takes itself for one of Kubernetes 1.20. */
export function template(chart: string, ...args: string[]): Promise<string> {
  return helmOutput("template", "release", `charts/${chart}`, "--namespace", "cache", "--kube-version", "1.35.0", ...args);
}

export async function objects(chart: string, ...args: string[]): Promise<Rendered[]> {
  return parseAllDocuments(await template(chart, ...args)).map((document) => document.toJS() as Rendered | null).filter((object) => object !== null);
}

export function one(rendered: readonly Rendered[], kind: string, name?: string): Rendered {
  const found = rendered.filter((object) => object.kind === kind && (name === undefined || object.metadata.name === name));
  if (found.length !== 1) throw new Error(`${found.length} objects of kind ${kind}`);
  return found[0]!;
}

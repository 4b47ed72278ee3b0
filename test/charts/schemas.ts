import { readFileSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseAllDocuments } from "yaml";
import { foreignCrds } from "../cluster/tools.ts";
import { run, tool } from "../fixtures/tools.ts";
import { ROOT } from "./render.ts";

/** Strict schemas for kubeconform: Kubernetes' own kinds from its OpenAPI document, all others from their definitions. */

interface Schema {
  $ref?: string;
  type?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  "x-kubernetes-group-version-kind"?: { group: string; version: string; kind: string }[];
  "x-kubernetes-preserve-unknown-fields"?: boolean;
  "x-kubernetes-int-or-string"?: boolean;
}

type Definitions = Record<string, Schema>;

/** Where the Go module of Kubernetes keeps its OpenAPI document; the rig builds the same version. */
const KUBERNETES = "k8s.io/kubernetes@v1.35.4";
const DEEPEST = 40;
/** Of the schemas made here; a change of inlined() changes it too. */
const FORM = 1;

/** Arguments of kubeconform that name all schemas. */
export async function schemaLocations(): Promise<string[]> {
  const core = await tool(`charts-schemas-${KUBERNETES.split("@")[1]!}-${FORM}`, async (making) => {
    const { stdout } = await run("go", ["mod", "download", "-json", KUBERNETES], { cwd: making, timeout: 5 * 60_000, maxBuffer: 16 * 1024 * 1024 });
    const { Dir } = JSON.parse(stdout) as { Dir: string };
    const { definitions } = JSON.parse(readFileSync(path.join(Dir, "api/openapi-spec/swagger.json"), "utf8")) as { definitions: Definitions };
    for (const [name, definition] of Object.entries(definitions)) {
      const kinds = definition["x-kubernetes-group-version-kind"] ?? [];
      if (kinds.length === 1) await writeSchema(making, kinds[0]!, inlined(definition, definitions, [name]));
    }
  });
  const ours = path.join(ROOT, "node_modules/.cache/stowhouse-schemas");
  await mkdir(ours, { recursive: true });
  const foreign = await foreignCrds();
  const directories = [...readdirSync(foreign).map((name) => path.join(foreign, name)), path.join(ROOT, "crds")];
  for (const directory of directories) {
    for (const file of readdirSync(directory)) if (file.endsWith(".yaml")) await writeCrds(ours, readFileSync(path.join(directory, file), "utf8"));
  }
  return [core, ours].flatMap((directory) => ["-schema-location", `${directory}/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json`]);
}

/** In kubeconform's words the group of `v1` is v1. */
function writeSchema(directory: string, { group, version, kind }: { group: string; version: string; kind: string }, schema: object): Promise<void> {
  return writeFile(path.join(directory, `${kind.toLowerCase()}-${group || version}-${version}.json`), JSON.stringify(schema));
}

interface Crd {
  kind: string;
  spec: { group: string; names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] };
}

async function writeCrds(directory: string, text: string): Promise<void> {
  for (const document of parseAllDocuments(text)) {
    const crd = document.toJS({ maxAliasCount: -1 }) as Crd | null;
    if (crd?.kind !== "CustomResourceDefinition") continue;
    const { group, names, versions } = crd.spec;
    for (const { name, schema } of versions) await writeSchema(directory, { group, version: name, kind: names.kind }, inlined(schema.openAPIV3Schema, {}, []));
  }
}

/** A schema without references, which takes no field it doesn't name. */
function inlined(schema: Schema, definitions: Definitions, within: readonly string[]): Schema {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.split("/").at(-1)!;
    if (name.endsWith(".Quantity")) return { type: ["string", "number"] as never };
    if (name.endsWith("IntOrString")) return { type: ["string", "integer"] as never };
    return within.includes(name) || within.length > DEEPEST ? {} : inlined(definitions[name]!, definitions, [...within, name]);
  }
  if (schema["x-kubernetes-int-or-string"]) return { type: ["string", "integer"] as never };
  const inside = (child: Schema) => inlined(child, definitions, within);
  const { properties, additionalProperties: more, items } = schema;
  const words = Object.fromEntries(Object.entries(schema).filter(([word]) => !word.startsWith("x-kubernetes") && word !== "format" && word !== "description"));
  // metadata is there in every object, whatever its definition says.
  const open = schema["x-kubernetes-preserve-unknown-fields"] === true || more !== undefined || properties === undefined;
  return {
    ...words,
    ...(items === undefined ? {} : { items: inside(items) }),
    ...(typeof more === "object" ? { additionalProperties: inside(more) } : {}),
    ...(properties === undefined ? {} : { properties: Object.fromEntries(Object.entries(properties).map(([name, child]) => [name, name === "metadata" && child.properties === undefined ? { type: "object" } : inside(child)])) }),
    ...(open ? {} : { additionalProperties: false }),
  };
}

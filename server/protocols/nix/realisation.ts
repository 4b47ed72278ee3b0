import { isOutputName, parseBaseName } from "./store-path.ts";
import { WireError } from "../wire.ts";

/**
 * Which path a floating derivation's output turned out to be. Two forms: Nix to 2.34 names the derivation by its hash
 * (`/realisations/sha256:<hex>!<output>.doi`), later ones by its path (`/build-trace-v2/<drv>/<output>.doi`).
 */
export type RealisationId = { readonly form: "hash"; readonly id: string } | { readonly form: "trace"; readonly drvPath: string; readonly outputName: string };

export interface Realisation {
  readonly id: RealisationId;
  /** Base name. */
  readonly outPath: string;
  /** Of the older form: other realisations this one was made with, id to base name. */
  readonly dependencies: Readonly<Record<string, string>>;
  /** `name:base64`. */
  readonly signatures: readonly string[];
}

/** Longest body, bytes. */
export const MAX_REALISATION = 256 * 1024;
const MAX_SIGNATURES = 64;
const HASH_ID = /^sha256:[0-9a-f]{64}!(.+)$/;
const SIGNATURE = /^[^\s:]{1,255}:[0-9a-zA-Z+/=]{1,4096}$/;

/** The name in `/realisations/<name>.doi`, decoded. */
export function parseHashId(name: string): RealisationId | undefined {
  const output = HASH_ID.exec(name)?.[1];
  return output !== undefined && isOutputName(output) ? { form: "hash", id: name } : undefined;
}

/** The names in `/build-trace-v2/<drv>/<output>.doi`. */
export function parseTraceId(drvPath: string, outputName: string): RealisationId | undefined {
  return parseBaseName(drvPath)?.name.endsWith(".drv") && isOutputName(outputName) ? { form: "trace", drvPath, outputName } : undefined;
}

/** The id as one text; the forms can't be confused. */
export function idText(id: RealisationId): string {
  return id.form === "hash" ? id.id : `${id.drvPath}/${id.outputName}`;
}

/** Reads the body that is stored under an id. @throws WireError */
export function parseRealisation(text: string, id: RealisationId): Realisation {
  if (Buffer.byteLength(text) > MAX_REALISATION) throw new WireError(`it is longer than ${MAX_REALISATION} bytes`);
  const body = objectOf(text);
  const { outPath, signatures = [], dependentRealisations = {} } = body;
  if (id.form === "hash" && body["id"] !== id.id) throw new WireError("its id is not the one in the URL");
  if (typeof outPath !== "string" || !parseBaseName(outPath)) throw new WireError("outPath is no store path");
  if (!Array.isArray(signatures) || signatures.length > MAX_SIGNATURES) throw new WireError("signatures is no list, or too long");
  return { id, outPath, dependencies: dependenciesOf(dependentRealisations), signatures: signatures.map(signatureOf) };
}

/** As Nix writes it: keys sorted, no spaces. */
export function formatRealisation(realisation: Realisation): string {
  const { id, outPath, dependencies, signatures } = realisation;
  if (id.form === "hash") return JSON.stringify({ dependentRealisations: sorted(dependencies), id: id.id, outPath, signatures });
  const objects = signatures.map((signature) => ({ keyName: signature.slice(0, signature.indexOf(":")), sig: signature.slice(signature.indexOf(":") + 1) }));
  return JSON.stringify({ outPath, signatures: objects });
}

/** What a signature of a realisation covers: its JSON, the id in it, without the signatures. */
export function realisationFingerprint({ id, outPath, dependencies }: Realisation): string {
  if (id.form === "hash") return JSON.stringify({ dependentRealisations: sorted(dependencies), id: id.id, outPath });
  return JSON.stringify({ key: { drvPath: id.drvPath, outputName: id.outputName }, value: { outPath } });
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new WireError("it is no JSON object");
}

function dependenciesOf(value: unknown): Record<string, string> {
  const pairs = typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value as Record<string, unknown>) : [["", ""] as const];
  for (const [id, path] of pairs) {
    if (!parseHashId(id) || typeof path !== "string" || !parseBaseName(path)) throw new WireError("dependentRealisations is malformed");
  }
  return Object.fromEntries(pairs) as Record<string, string>;
}

/** `name:base64`, or an object of the two, as later versions write it. */
function signatureOf(value: unknown): string {
  const { keyName, sig } = (typeof value === "object" && value !== null ? value : {}) as { keyName?: unknown; sig?: unknown };
  const text = typeof keyName === "string" && typeof sig === "string" ? `${keyName}:${sig}` : value;
  if (typeof text !== "string" || !SIGNATURE.test(text)) throw new WireError("a signature is malformed");
  return text;
}

function sorted(pairs: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(pairs).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

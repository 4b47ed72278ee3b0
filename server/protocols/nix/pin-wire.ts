import { WireError } from "../wire.ts";
import { parseBaseName } from "./store-path.ts";

/** How long the revisions of a pin stay: each for some days, the last ones, or all of them for ever. */
export type Keep = { readonly days: number } | { readonly revisions: number } | "forever";

/** What a pin is asked to be. */
export interface PinRequest {
  readonly name: string;
  /** Base name. */
  readonly storePath: string;
  /** Paths below the store path that its users are told of. */
  readonly artifacts: readonly string[];
  /** Undefined: as before, at first the latest revision. */
  readonly keep: Keep | undefined;
}

const MAX_DAYS = 36_500;
/** Of one pin. */
export const MAX_REVISIONS = 400;
const MAX_ARTIFACTS = 100;
const NAME = /^[^\s/][^\s]{0,199}$/;
const MAX_ARTIFACT = 1_024;

/** The body of the Cachix API's POST …/pin (nix.md §3.1). @throws WireError */
export function parseCachixPin(value: unknown, storeDir: string): PinRequest {
  const { name, storePath, artifacts, keep } = object(value, "a pin");
  return checkPin({ name, storePath, artifacts: artifacts ?? [], keep: parseCachixKeep(keep) }, storeDir);
}

/** What is the same for all who pin. @throws WireError */
export function checkPin(pin: { name: unknown; storePath: unknown; artifacts: unknown; keep: Keep | undefined }, storeDir: string): PinRequest {
  const { name, storePath, artifacts, keep } = pin;
  if (typeof name !== "string" || !isPinName(name)) throw new WireError("a pin's name has 1 to 200 characters, and no spaces");
  if (typeof storePath !== "string" || !storePath.startsWith(`${storeDir}/`) || !parseBaseName(storePath.slice(storeDir.length + 1))) throw new WireError(`storePath is no path of ${storeDir}`);
  if (!Array.isArray(artifacts) || artifacts.length > MAX_ARTIFACTS || !artifacts.every(isArtifact)) throw new WireError(`artifacts are at most ${MAX_ARTIFACTS} paths below the store path`);
  return { name, storePath: storePath.slice(storeDir.length + 1), artifacts, keep };
}

/** `null`, `{"tag":"Days","contents":30}`, `{"tag":"Revisions","contents":3}` or `{"tag":"Forever"}`. */
function parseCachixKeep(value: unknown): Keep | undefined {
  if (value === null || value === undefined) return undefined;
  const { tag, contents } = object(value, "keep");
  if (tag === "Forever") return "forever";
  if (tag === "Days" && isCount(contents, MAX_DAYS)) return { days: contents };
  if (tag === "Revisions" && isCount(contents, MAX_REVISIONS)) return { revisions: contents };
  throw new WireError(`keep is Days (1 to ${MAX_DAYS}), Revisions (1 to ${MAX_REVISIONS}) or Forever`);
}

/** The admin API's `{"days":30}`, `{"revisions":3}` or `{"forever":true}`; absent: undefined. @throws WireError */
export function parseKeep(value: unknown): Keep | undefined {
  if (value === undefined || value === null) return undefined;
  const { days, revisions, forever, ...others } = object(value, "keep");
  const given = [days, revisions, forever].filter((one) => one !== undefined);
  if (given.length === 1 && Object.keys(others).length === 0) {
    if (isCount(days, MAX_DAYS)) return { days };
    if (isCount(revisions, MAX_REVISIONS)) return { revisions };
    if (forever === true) return "forever";
  }
  throw new WireError(`keep is one of days (1 to ${MAX_DAYS}), revisions (1 to ${MAX_REVISIONS}) and forever`);
}

function isPinName(text: string): boolean {
  // eslint-disable-next-line no-control-regex
  return NAME.test(text) && text.isWellFormed() && !/[\u0000-\u001f\u007f]/.test(text);
}

function isArtifact(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_ARTIFACT && !value.startsWith("/") && !value.split("/").includes("..");
}

function isCount(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new WireError(`${what} is an object`);
  return value as Record<string, unknown>;
}

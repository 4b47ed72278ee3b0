import type { Config } from "./rules.ts";

/**
 * What a running server takes over from a changed configuration, with everything below each path; the rest needs a restart.
 * The operator rolls pods for the rest only.
 */
export const RELOADABLE: readonly string[] = [
  "caches",
  "auth.adminKey",
  "auth.writeKey",
  "auth.readKey",
  "auth.signingSecret",
  "auth.sessionLifetime",
  "auth.maxSessionLifetime",
  "auth.github",
  "auth.githubRuntime",
  "limits.entrySize",
  "limits.requestsPerMinute",
  "eviction",
  "log",
  "audit",
  "shutdown",
];

/** Whether a running server takes over what stands at a path. */
export function isReloadable(path: string): boolean {
  return RELOADABLE.some((known) => path === known || path.startsWith(`${known}.`));
}

/** Paths of the fields in which two configurations differ. Names only: values may be secrets. */
export interface Changes {
  readonly reloadable: readonly string[];
  readonly restart: readonly string[];
}

/** Compares two resolved configurations; a list counts as one field, and so does what stands on one side only. */
export function changesBetween(before: Config, after: Config): Changes {
  const paths = differences(before, after, "");
  return { reloadable: paths.filter(isReloadable), restart: paths.filter((path) => !isReloadable(path)) };
}

/** A copy of a configuration, resolved or as written, that has only what needs a restart. */
export function withoutReloadable(configuration: object): object {
  return strip(configuration, "");
}

function strip(value: object, path: string): object {
  const kept: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value)) {
    const at = join(path, name);
    if (isReloadable(at)) continue;
    if (!isGroup(part)) kept[name] = part;
    else {
      const rest = strip(part, at);
      // A section of which only reloadable fields are set says the same as no section.
      if (Object.keys(rest).length > 0) kept[name] = rest;
    }
  }
  return kept;
}

function differences(before: unknown, after: unknown, path: string): string[] {
  if (isGroup(before) && isGroup(after)) {
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...names].sort().flatMap((name) => differences(before[name], after[name], join(path, name)));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [path];
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

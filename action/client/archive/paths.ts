import { realpathSync } from "node:fs";
import { dirname, isAbsolute, join, parse, relative, resolve, sep } from "node:path";

/** Where paths are named from. */
export interface Places {
  /** The workspace: what relative paths are relative to. */
  readonly workspace: string;
  readonly home: string;
}

/** A path that is no archive's to name, or not here. */
export class PathError extends Error {}

/**
 * A root's name in an archive: `./…` in the workspace, `~/…` in the home directory (both may lie elsewhere on the machine
 * that restores), else absolute; with slashes everywhere.
 */
export function rootName(path: string, { workspace, home }: Places): string {
  for (const [base, sign] of [[workspace, "."], [home, "~"]] as const) {
    const rest = within(base, path);
    if (rest !== undefined) return rest === "" ? sign : `${sign}/${rest.split(sep).join("/")}`;
  }
  return path.split(sep).join("/");
}

/** @throws PathError for a name that leads elsewhere than it seems */
export function rootPath(name: string, { workspace, home }: Places): string {
  const sign = name.slice(0, 2);
  const base = sign === "." || sign === "./" ? workspace : sign === "~" || sign === "~/" ? home : undefined;
  const steps = (base === undefined ? name.slice(parse(name).root.length) : name.slice(2)).split("/");
  if (name.includes("\0") || (name !== "." && name !== "~" && steps.some((step) => step === "" || step === "." || step === ".." || (sep === "\\" && step.includes("\\"))))) {
    throw new PathError(`the archive names a path that leads elsewhere: ${JSON.stringify(name)}`);
  }
  if (base !== undefined) return join(base, ...steps);
  if (!isAbsolute(name)) throw new PathError(`the archive names a path that is not absolute: ${JSON.stringify(name)}`);
  return resolve(name);
}

/** The part of a requested path before its first wildcard, absolute: what is restored must lie there or below. */
export function literalBase(pattern: string, { workspace, home }: Places): string {
  const expanded = pattern === "~" || /^~[/\\]/.test(pattern) ? join(home, pattern.slice(1)) : pattern;
  const absolute = resolve(workspace, expanded);
  if (!/[*?[\]{}]/.test(expanded)) return absolute;
  const { root } = parse(absolute);
  const steps = absolute.slice(root.length).split(sep);
  const wild = steps.findIndex((step) => /[*?[\]{}]/.test(step));
  return join(root, ...steps.slice(0, wild < 0 ? undefined : wild));
}

// eslint-disable-next-line no-control-regex
const NOT_ON_WINDOWS = /[\u0000-\u001f<>:"|?*\\]|[ .](?:\/|$)|(?:^|\/)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.[^/]*)?(?:\/|$)/i;

/**
 * Windows takes some names for others: a backslash for a slash, a colon for a stream, a reserved one for a device.
 * @throws PathError for a member that would not be where it is called
 */
export function assertName(path: string, windows = sep === "\\"): void {
  if (windows && NOT_ON_WINDOWS.test(path)) throw new PathError(`Windows can't hold a file called ${JSON.stringify(path)}`);
}

/** The rest of a path in a directory (empty for the directory itself), or undefined when it is not in it. */
export function within(base: string, path: string): string | undefined {
  const rest = relative(base, path);
  return rest === ".." || rest.startsWith(`..${sep}`) || isAbsolute(rest) ? undefined : rest;
}

/** Paths without those that lie in another of them, in order. */
export function outermost(paths: readonly string[]): string[] {
  const unique = [...new Set(paths)];
  return unique.filter((path) => !unique.some((other) => other !== path && within(other, path) !== undefined)).toSorted();
}

/**
 * A path in the workspace by name must be there in fact too: a link on the way would lead what is read or written elsewhere.
 * @throws PathError
 */
export function assertNoDetour(path: string, workspace: string): void {
  if (within(workspace, path) === undefined || path === workspace) return;
  let parent = dirname(path);
  for (;;) {
    try {
      const real = realpathSync(parent);
      if (within(realpathSync(workspace), real) === undefined) throw new PathError(`${path} leaves the workspace through a link`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(parent) === parent) throw error;
      parent = dirname(parent);
    }
  }
}

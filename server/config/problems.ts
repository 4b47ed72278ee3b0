import { errors, type StowError } from "../core/errors.ts";

const MOST = 50;
const LONGEST = 60;

/** Collects what is wrong with a configuration, so that a user sees everything at once. */
export class Problems {
  readonly #found: { path: string; text: string }[] = [];
  readonly #origins = new Map<string, string>();
  #more = 0;

  /** Says where the value of a path comes from, when not from the file. */
  origin(path: string, source: string): void {
    this.#origins.set(path, source);
  }

  add(path: string, text: string): void {
    if (this.#found.length < MOST) this.#found.push({ path, text });
    else this.#more++;
  }

  get none(): boolean {
    return this.#found.length === 0;
  }

  /** Whether nothing is wrong at these paths nor below them. */
  clean(...paths: string[]): boolean {
    if (this.#more > 0) return false;
    const below = (path: string, place: string) => place === path || place.startsWith(`${path}.`) || place.startsWith(`${path}[`);
    return paths.every((path) => !this.#found.some((problem) => below(path, problem.path)));
  }

  /** The error that tells all of it, one line a problem. */
  error(): StowError {
    return errors.config(this.lines().map((line) => `\n  ${line}`).join(""));
  }

  lines(): string[] {
    const lines = this.#found.map(({ path, text }) => {
      const origin = this.#origins.get(path);
      return `${path || "the configuration"}${origin === undefined ? "" : ` (${origin})`}: ${text}`;
    });
    return this.#more === 0 ? lines : [...lines, `and ${this.#more} more`];
  }
}

/** Takes keys of ours and passwords in URLs out of a text, wherever they were put by mistake. */
function redact(text: string): string {
  return text.replace(/stow_[a-z]+_[^\s"]*/g, "stow_…").replace(/:\/\/[^\s"]*@/g, "://…@");
}

/** What was found, in a few words. Contents of lists and objects are never shown, those of secrets neither. */
export function describe(value: unknown, secret = false): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  if (secret) return `a ${typeof value}`;
  if (typeof value !== "string") return String(value);
  const shown = redact(value);
  return JSON.stringify(shown.length > LONGEST ? `${shown.slice(0, LONGEST)}…` : shown);
}

/** A field's name as it appears in a path; names that are none of ours are quoted and cut. */
export function pathName(name: string): string {
  return /^[\w-]{1,64}$/.test(name) ? redact(name) : describe(name);
}

/** The known name a misspelt one most likely means. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.slice(0, 64).toLowerCase().replace(/[^a-z0-9]/g, "");
  const ranked = known.map((candidate) => ({ candidate, steps: distance(plain(name), plain(candidate)) }));
  const best = ranked.sort((a, b) => a.steps - b.steps)[0];
  return best !== undefined && best.steps <= Math.max(1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined;
}

/** Edit distance with neighbours swapped as one step (optimal string alignment). */
function distance(a: string, b: string): number {
  let older: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let steps = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) steps = Math.min(steps, older[j - 2]! + 1);
      row.push(steps);
    }
    [older, last] = [last, row];
  }
  return last[b.length]!;
}

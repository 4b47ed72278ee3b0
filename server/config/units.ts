import { errors } from "../core/errors.ts";

/**
 * A kind of text in the configuration. A schema names its kind by the kind's `pattern`, a plain JSON Schema word: so the
 * same schema also serves the CRD, the chart and OpenAPI, none of which know words of ours.
 */
export interface Kind<T> {
  readonly pattern: string;
  /** One word for the documentation's table. */
  readonly type: string;
  /** What the user should write, for error messages. */
  readonly expected: string;
  /** The value meant by what stands in the configuration, or undefined. Never throws. */
  parse(value: unknown): T | undefined;
}

/**
 * Amounts in words. Each kind has a pattern any regular-expression engine understands (the CRD's is Go's), an inverse of
 * its parser, and refuses what two readers could read differently: `10G` (1000 or 1024?), `30` of a duration (of what?).
 */

const DECIMAL = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15 };
const BINARY = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, PiB: 2 ** 50 };
const BYTES = new Map(Object.entries({ ...DECIMAL, ...BINARY }).map(([name, bytes]) => [name.toUpperCase(), bytes]));
const SIZE_TEXT = /^([0-9]{1,16})(?:\.([0-9]{1,3}))? *([A-Za-z]*)$/;

function size(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const parts = typeof value === "string" ? SIZE_TEXT.exec(value) : null;
  if (parts === null) return undefined;
  const [, whole, thousandths = "", word = ""] = parts;
  const unit = word.toUpperCase();
  // Ki, Mi, Gi… say the same as KiB, MiB, GiB and nothing else.
  const bytes = unit === "" ? 1 : (BYTES.get(unit) ?? (unit.endsWith("I") ? BYTES.get(`${unit}B`) : undefined));
  if (bytes === undefined || (bytes === 1 && thousandths !== "")) return undefined;
  const total = Number(whole) * bytes + Math.floor((Number(thousandths.padEnd(3, "0")) * bytes) / 1000);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Sizes; bytes. */
export const SIZE: Kind<number> = {
  pattern: "^[0-9]+(\\.[0-9]{1,3})? *([kKmMgGtTpP]([iI][bB]?|[bB])|[bB])?$",
  type: "size",
  expected: "a size like 10GiB, 500MB or 65536 (bytes)",
  parse: size,
};

/** Writes a size in the largest unit that says it exactly. @param bytes a safe integer ≥ 0 */
export function formatSize(bytes: number): string {
  const units = [...Object.entries(BINARY).reverse(), ...Object.entries(DECIMAL).slice(1).reverse()];
  const unit = bytes === 0 ? undefined : units.find(([, factor]) => bytes % factor === 0);
  return unit === undefined ? String(bytes) : `${bytes / unit[1]}${unit[0]}`;
}

const SPANS = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
const DURATION_TEXT = /^(?:([0-9]{1,16})w)?(?:([0-9]{1,16})d)?(?:([0-9]{1,16})h)?(?:([0-9]{1,16})m)?(?:([0-9]{1,16})s)?(?:([0-9]{1,16})ms)?$/;

function duration(value: unknown): number | undefined {
  if (value === 0 || value === "0") return 0;
  const parts = typeof value === "string" && value !== "" ? DURATION_TEXT.exec(value) : null;
  if (parts === null) return undefined;
  const total = Object.values(SPANS).reduce((sum, span, index) => sum + Number(parts[index + 1] ?? 0) * span, 0);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Durations; milliseconds. */
export const DURATION: Kind<number> = {
  pattern: "^(0|([0-9]+(ms|s|m|h|d|w))+)$",
  type: "duration",
  expected: "a duration with its unit, like 30d, 2h30m, 5s or 250ms",
  parse: duration,
};

/** Writes a duration in days and smaller units. @param milliseconds a safe integer ≥ 0 */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = "";
  for (const [unit, span] of Object.entries(SPANS).slice(1)) {
    const count = Math.floor(rest / span);
    rest -= count * span;
    if (count > 0) text += `${count}${unit}`;
  }
  return text || "0";
}

/** Shares; a fraction of 1, in steps of a hundredth of a percent. */
export const PERCENT: Kind<number> = {
  pattern: "^(100(\\.0{1,2})?|[0-9]{1,2}(\\.[0-9]{1,2})?) *%$",
  type: "percent",
  expected: "a share from 0% to 100%, like 25%",
  parse(value) {
    const text = typeof value === "string" && new RegExp(PERCENT.pattern).test(value) ? value.slice(0, -1) : undefined;
    return text === undefined ? undefined : Math.round(Number(text) * 100) / 10_000;
  },
};

/** Writes a fraction as a percentage. */
export function formatPercent(fraction: number): string {
  return `${Math.round(fraction * 10_000) / 100}%`;
}

function reader(kind: Kind<number>) {
  return (text: string): number => {
    const value = kind.parse(text);
    if (value === undefined) throw errors.badRequest(`"${text.slice(0, 40)}" is not understood; expected ${kind.expected}`);
    return value;
  };
}

/** Bytes of a size in words. @throws badRequest */
export const parseSize = reader(SIZE);
/** Milliseconds of a duration in words. @throws badRequest */
export const parseDuration = reader(DURATION);
/** Fraction of a percentage. @throws badRequest */
export const parsePercent = reader(PERCENT);

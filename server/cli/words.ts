const SIZES = ["KiB", "MiB", "GiB", "TiB", "PiB"];
const SPANS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1_000]] as const;

/** Bytes for people: `0 B`, `999 B`, `1.5 GiB`. */
export function sizeWords(bytes: number): string {
  let [value, unit] = [bytes, -1];
  // 1023.95 KiB would read as 1024.0.
  while (value >= (unit < 0 ? 1024 : 1023.95) && unit < SIZES.length - 1) [value, unit] = [value / 1024, unit + 1];
  return unit < 0 ? `${bytes} B` : `${value.toFixed(1)} ${SIZES[unit]}`;
}

/** A span of time for people, in its largest whole unit: `3 days`, `1 hour`, `0 seconds`. @param ms 0 or more */
export function spanWords(ms: number): string {
  const [unit, length] = SPANS.find(([, span]) => ms >= span) ?? SPANS.at(-1)!;
  const count = Math.floor(Math.max(0, ms) / length);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** How long ago a time was: `3 days ago`; in the future: `in 2 hours`. @param time ISO 8601, or null for `never` */
export function agoWords(time: string | null, now: number): string {
  if (time === null) return "never";
  const ms = now - Date.parse(time);
  return ms < 0 ? `in ${spanWords(-ms)}` : `${spanWords(ms)} ago`;
}

/** Milliseconds for people: `0.8 ms`, `120 ms`, `2.4 s`. */
export function millisecondWords(ms: number | null): string {
  if (ms === null) return "-";
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** A rate (0 to 1) and what it is of: `97.5% of 40`; `-` without any. */
export function rateWords(rate: number | null, of: number): string {
  if (rate === null) return "-";
  // Never rounded up to what it is not.
  const percent = Math.floor(rate * 1000) / 10;
  return `${percent}% of ${of}`;
}

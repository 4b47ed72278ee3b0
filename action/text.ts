/** Figures for people. */

export function bytes(count: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const unit = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  const value = count / 1000 ** unit;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** @param ms */
export function time(ms: number): string {
  if (ms < 100_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes} min ${Math.round((ms - minutes * 60_000) / 1000)} s`;
}

export function rate(count: number, ms: number): string {
  return ms <= 0 ? "" : `${bytes((count / ms) * 1000)}/s`;
}

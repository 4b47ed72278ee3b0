/** Keys come from anyone: what could move a terminal's cursor or colour it is shown as a dot. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "·");
}

/** Aligned columns under their names, two spaces apart. @param widths of a table this one goes on; then without the names */
export function table(columns: readonly string[], rows: readonly (readonly string[])[], widths?: readonly number[]): { text: string; widths: number[] } {
  const clean = rows.map((row) => row.map(printable));
  const fitted = columns.map((name, index) => Math.max(widths?.[index] ?? 0, name.length, ...clean.map((row) => row[index]!.length)));
  const lines = widths ? clean : [columns, ...clean];
  const text = lines.map((line) => `${line.map((cell, index) => cell.padEnd(fitted[index]!)).join("  ").trimEnd()}\n`).join("");
  return { text, widths: fitted };
}

/** Labels in the text format of Prometheus; what can't be a label's name is left out. */
export function braces(labels: Readonly<Record<string, string>>): string {
  const all = Object.entries(labels).filter(([name]) => /^[a-zA-Z_]\w*$/.test(name));
  return all.length === 0 ? "" : `{${all.map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (one) => (one === "\n" ? "\\n" : `\\${one}`))}"`).join(",")}}`;
}

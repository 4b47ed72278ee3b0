export interface NetrcEntry {
  readonly login: string;
  readonly password: string;
}

/**
 * The entry for a host in a netrc file, as curl finds it: the first `machine` of that name, else `default`. Words may be
 * quoted; macros are skipped; a `#` word begins a comment.
 */
export function netrcEntry(text: string, host: string): NetrcEntry | undefined {
  let fallback: NetrcEntry | undefined;
  for (const { machine, entry } of entries(words(text))) {
    if (machine === host) return entry;
    if (machine === undefined) fallback ??= entry;
  }
  return fallback;
}

function* entries(all: readonly string[]): Generator<{ machine: string | undefined; entry: NetrcEntry }> {
  let current: { machine: string | undefined; entry: { login: string; password: string } } | undefined;
  for (let i = 0; i < all.length; i++) {
    const word = all[i]!;
    if (word === "machine" || word === "default") {
      if (current) yield current;
      current = { machine: word === "machine" ? (all[++i] ?? "") : undefined, entry: { login: "", password: "" } };
    } else if ((word === "login" || word === "password") && current) current.entry[word] = all[++i] ?? "";
    else if (word === "account") i++;
  }
  if (current) yield current;
}

function words(text: string): string[] {
  const found: string[] = [];
  // A macro runs to the next empty line.
  const plain = text.replaceAll("\r\n", "\n").replaceAll(/(^|\n)[ \t]*macdef[^\n]*\n[^]*?(\n[ \t]*\n|$)/g, "$1");
  for (const line of plain.split("\n")) {
    for (const match of line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)) {
      if (match[2]?.startsWith("#") && found.at(-1) !== "password") break;
      found.push(match[2] ?? match[1]!.replaceAll(/\\(.)/g, (_, char: string) => ({ n: "\n", r: "\r", t: "\t" })[char] ?? char));
    }
  }
  return found;
}

import { readFileSync, readlinkSync } from "node:fs";
import path from "node:path";

/** What templates may name. */
export interface Words {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: string;
  readonly arch: string;
  /** The go command's arguments, its own name first; empty where they can't be known. */
  readonly command: readonly string[];
  /** As in `go1.26.1`; empty where it can't be known. */
  readonly version: string;
}

const GOOS: Readonly<Record<string, string>> = { win32: "windows", sunos: "solaris" };
const GOARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", mipsel: "mipsle" };
/** What a build uses depends on these; the repository and its branches are the credential's scopes. */
export const DEFAULT_LABEL = "{command}/{GOOS}-{GOARCH}/{GOVERSION}";

/** Fills a template in: `{GOOS}`, `{GOARCH}`, `{GOVERSION}`, `{command}`, `{env.NAME}`; cacheprog's `{% GOOS %}` is the same. @throws Error for another name */
export function fillIn(template: string, words: Words): string {
  return template.replace(/\{%?\s*([\w.]+)\s*%?\}/g, (_, name: string) => {
    if (name === "GOOS") return words.env["GOOS"] || (GOOS[words.platform] ?? words.platform);
    if (name === "GOARCH") return words.env["GOARCH"] || (GOARCH[words.arch] ?? words.arch);
    if (name === "GOVERSION") return words.version;
    if (name === "command") return commandOf(words.command);
    if (name.startsWith("env.")) return words.env[name.slice(4)] ?? "";
    throw new Error(`{${name}} is no word of a template; there are {GOOS}, {GOARCH}, {GOVERSION}, {command} and {env.NAME}`);
  });
}

/** `build` of `go build ./…`, and the tool's own name for others: each uses other actions. */
function commandOf(command: readonly string[]): string {
  const [program = "", ...rest] = command;
  const name = path.basename(program).replace(/\.exe$/, "");
  return name === "go" ? (rest.find((word) => /^[a-z]+$/.test(word)) ?? "go") : name || "go";
}

/** Programs that stand between go and us: npx, a shell, an older Node that starts a newer one. */
const BETWEEN = /^(?:node|npm|npx|sh|bash|dash|env|stowhouse)(?:\.exe)?$/;
const MAX_BETWEEN = 8;

/** What the process that started us is; only Linux tells. */
export function parentWords(parent: number): Pick<Words, "command" | "version"> {
  try {
    let [of, program] = [parent, readlinkSync(`/proc/${parent}/exe`)];
    for (let i = 0; i < MAX_BETWEEN && BETWEEN.test(path.basename(program)); i++) {
      of = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${of}/status`, "utf8"))![1]);
      program = readlinkSync(`/proc/${of}/exe`);
    }
    const command = readFileSync(`/proc/${of}/cmdline`, "utf8").split("\0").filter((word) => word !== "");
    return { command, version: versionOf(program) };
  } catch {
    return { command: [], version: "" };
  }
}

/** Beside the program `go/bin/go` stands `go/VERSION`. */
function versionOf(program: string): string {
  try {
    return readFileSync(path.join(path.dirname(program), "../VERSION"), "utf8").split("\n")[0]!.trim();
  } catch {
    return "";
  }
}

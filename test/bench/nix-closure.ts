import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const CONFIG = `sandbox = false
build-users-group =
substituters =
experimental-features = nix-command
`;

/** 31 paths, 190 MiB: one of 100 MiB and four of 10 MiB that don't pack, six of 8 MiB of text, 19 small ones, and one that needs them all. */
const EXPRESSION = `
  let make = name: command: derivation { inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" command ]; };
      times = n: f: builtins.genList f n;
      noise = mib: n: make "stowhouse-bench-\${toString mib}-\${toString n}" "/usr/bin/head -c \${toString (mib * 1048576)} /dev/urandom > $out";
      text = n: make "stowhouse-bench-text-\${toString n}" "/usr/bin/seq -f '\${toString n} line %.0f of a text' 300000 | /usr/bin/head -c 8388608 > $out";
      small = n: make "stowhouse-bench-small-\${toString n}" "/bin/mkdir $out; for i in 1 2 3 4 5; do echo \${toString n} $i > $out/$i; done";
      all = [ (noise 100 0) ] ++ times 4 (noise 10) ++ times 6 text ++ times 19 small;
  in make "stowhouse-bench-top" "/bin/mkdir $out; echo \${toString all} > $out/all"
`;

/** Real Nix as root without a daemon, and a closure it has built. */
export class NixClient {
  readonly #dir: string;
  readonly top: string;
  readonly publicKey: string;
  #stores = 0;

  /** Builds the closure and writes it to `files` as a binary cache. @param dir for its stores */
  constructor(dir: string, files: string) {
    this.#dir = dir;
    mkdirSync(path.join(dir, "conf"), { recursive: true });
    writeFileSync(path.join(dir, "conf", "nix.conf"), CONFIG);
    const expression = path.join(dir, "closure.nix");
    writeFileSync(expression, EXPRESSION);
    const secret = path.join(dir, "secret");
    const known = path.join(dir, "public");
    this.run("nix-store", "--generate-binary-cache-key", "bench-1", secret, known);
    this.publicKey = this.run("cat", known).trim();
    this.top = this.run("nix-build", "--no-out-link", expression).trim();
    this.run("nix", "copy", "--to", `file://${files}?compression=zstd&parallel-compression=true&secret-key=${secret}`, this.top);
  }

  /** Pulls the closure into an empty store. @returns s */
  pull(url: string, publicKey: string): number {
    const store = path.join(this.#dir, `store-${++this.#stores}`);
    const began = performance.now();
    this.run("nix", "copy", "--from", url, "--to", store, "--option", "trusted-public-keys", publicKey, this.top);
    const took = (performance.now() - began) / 1000;
    this.run("chmod", "-R", "u+w", store);
    this.run("rm", "-rf", store);
    return took;
  }

  /** Takes the closure out of /nix/store. */
  remove(): void {
    this.run("sh", "-c", "nix-store --delete --ignore-liveness $(ls -d /nix/store/*-stowhouse-bench-* | grep -v '[.]lock$')");
  }

  run(command: string, ...args: readonly string[]): string {
    const answers = path.join(this.#dir, "answers");
    const env = { PATH: process.env["PATH"], HOME: this.#dir, NIX_CONF_DIR: path.join(this.#dir, "conf"), XDG_CACHE_HOME: answers };
    const said = execFileSync(command, [...args], { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 120_000 });
    // What was answered is not remembered for the next time.
    execFileSync("rm", ["-rf", answers]);
    return said;
  }
}

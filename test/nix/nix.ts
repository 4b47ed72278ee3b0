import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

export interface Ran {
  readonly code: number;
  /** Both streams. */
  readonly said: string;
}

/** Longest run of one command, ms. */
const PATIENCE = 120_000;

const CONFIG = `sandbox = false
build-users-group =
substituters =
experimental-features = nix-command ca-derivations
narinfo-cache-negative-ttl = 0
`;

/** Runs a command in another root directory, with the machine's devices, a rig's home, and the rig's own /nix; its mounts end with it. */
const ENTER = `set -e
root=$1 home=$2
shift 2
mkdir -p "$root$home" "$home/nix"
mount --bind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$home" "$root$home"
mount --bind "$home/nix" "$root/nix"
exec chroot "$root" "$@"
`;

/**
 * The real Nix, as root and without a daemon: Debian's nix-bin, or that of another root directory. It builds in /nix/store, as
 * it can't elsewhere without namespaces; what it pulls goes to stores of their own. Names are random, so runs don't meet.
 */
export class NixRig {
  readonly home = mkdtempSync(path.join(tmpdir(), "stowhouse-nix-"));
  readonly mark = randomBytes(4).toString("hex");
  readonly file: string;
  /** The machine's settings, as NIX_CONF_DIR. */
  readonly conf = path.join(this.home, "conf");
  readonly #root: string | undefined;
  #stores = 0;

  /** @param root where Nix runs with a /nix of its own */
  constructor(root?: string) {
    this.#root = root;
    if (process.getuid?.() !== 0) throw new Error("these tests build in /nix/store: run them as root, with nix-bin installed");
    mkdirSync(this.conf);
    writeFileSync(path.join(this.conf, "nix.conf"), CONFIG);
    this.file = path.join(this.home, "closure.nix");
    writeFileSync(this.file, this.#expressions());
  }

  /** Three paths of which the last needs the others; one that names itself; a floating one that needs a floating one; 8 MiB that don't pack. */
  #expressions(): string {
    return `
      let make = name: command: more: derivation ({ name = "stowhouse-${this.mark}-\${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" command ]; } // more);
          floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
      in rec {
        low = make "low" "echo low ${this.mark} > $out" {};
        middle = make "middle" "echo \${low} > $out; /bin/echo more >> $out" {};
        top = make "top" "/bin/mkdir $out; echo \${low} \${middle} > $out/both; /bin/ln -s \${low} $out/link" {};
        self = make "self" "echo $out \${low} > $out" {};
        deep = make "deep" "echo ${this.mark} \${low} > $out" floating;
        float = make "float" "echo \${deep} > $out" floating;
        large = make "large" "/usr/bin/head -c 8388608 /dev/urandom > $out" {};
      }
    `;
  }

  /** A command of Nix with a cache of answers of its own: what an earlier one was told is not remembered. */
  run(command: string, ...args: readonly string[]): Promise<Ran> {
    const cache = mkdtempSync(path.join(this.home, "answers-"));
    const env = { PATH: process.env["PATH"], HOME: this.home, NIX_CONF_DIR: this.conf, XDG_CACHE_HOME: cache };
    const [program, ...rest] = this.#root === undefined ? [command, ...args] : ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", this.#root, this.home, command, ...args];
    return new Promise((resolve) => {
      execFile(program, rest, { env, timeout: PATIENCE, maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, said: stdout + stderr });
      });
    });
  }

  /** Builds attributes and says their store paths. @throws with what Nix said */
  async build(...attributes: readonly string[]): Promise<string[]> {
    const ran = await this.run("nix-build", "--no-out-link", this.file, ...attributes.flatMap((attribute) => ["-A", attribute]));
    if (ran.code !== 0) throw new Error(ran.said);
    return ran.said.split("\n").filter((line) => line.startsWith("/nix/store/") && !line.endsWith(".drv"));
  }

  /** Where attributes are, or would be. @throws with what Nix said */
  async paths(...attributes: readonly string[]): Promise<string[]> {
    return Promise.all(attributes.map(async (attribute) => {
      const ran = await this.run("nix", "eval", "--raw", "--file", this.file, `${attribute}.outPath`);
      if (ran.code !== 0) throw new Error(ran.said);
      return ran.said.trim();
    }));
  }

  /** Takes attributes out of the store, those first that need others. @throws with what Nix said */
  async forget(...attributes: readonly string[]): Promise<void> {
    for (const one of await this.paths(...attributes)) {
      const ran = await this.run("nix-store", "--delete", "--ignore-liveness", one);
      if (ran.code !== 0) throw new Error(ran.said);
    }
  }

  /** The machine's settings: names, and what is in them. */
  configuration(): Record<string, string> {
    return Object.fromEntries(readdirSync(this.conf).map((name) => [name, readFileSync(path.join(this.conf, name), "latin1")]));
  }

  /** Where a path of /nix/store is to be read. */
  at(storePath: string): string {
    return this.#root === undefined ? storePath : path.join(this.home, storePath);
  }

  /** A store with nothing in it. */
  store(): string {
    return path.join(this.home, `store-${++this.#stores}`);
  }

  netrc(password: string): string {
    const file = path.join(this.home, `netrc-${randomBytes(4).toString("hex")}`);
    writeFileSync(file, `machine 127.0.0.1\nlogin ci\npassword ${password}\n`, { mode: 0o600 });
    return file;
  }

  async remove(): Promise<void> {
    const { said } = await this.run("sh", "-c", `ls -d /nix/store/*-stowhouse-${this.mark}-* 2>/dev/null`);
    await this.run("nix-store", "--delete", "--ignore-liveness", ...said.split("\n").filter((line) => line !== "" && !line.endsWith(".lock")));
    // Stores are read-only.
    await this.run("chmod", "-R", "u+w", this.home);
    rmSync(this.home, { recursive: true, force: true });
    if (this.#root !== undefined) rmSync(path.join(this.#root, this.home), { recursive: true, force: true });
  }
}

export interface NixDaemon {
  /** Variables by which Nix talks to it. */
  readonly env: Record<string, string>;
  /** A directory with a `systemctl` that starts it again. */
  readonly bin: string;
  /** How often it was started. */
  starts(): number;
  stop(): void;
}

/** nix-daemon with the settings of a rig. @param trusted its trusted-users */
export async function startNixDaemon(rig: NixRig, trusted: string): Promise<NixDaemon> {
  // Without the end of its last line, as people write it.
  writeFileSync(path.join(rig.conf, "nix.conf"), `${CONFIG}trusted-users = ${trusted}`);
  const home = path.join(rig.home, "daemon");
  const [socket, pid, log, bin] = ["socket", "pid", "log", "bin"].map((name) => path.join(home, name)) as [string, string, string, string];
  mkdirSync(bin, { recursive: true });
  const script = path.join(bin, "systemctl");
  writeFileSync(script, `#!/bin/bash
if [ -e ${pid} ]; then
  kill -9 "$(cat ${pid})"
  rm ${socket}
fi
# What the job includes is all it gets from the job.
env -i PATH="$PATH" HOME=${home} XDG_CACHE_HOME="$(mktemp -d -p ${home})" NIX_CONF_DIR=${rig.conf} NIX_DAEMON_SOCKET_PATH=${socket} setsid nix-daemon >> ${log} 2>&1 < /dev/null &
echo $! > ${pid}
echo started >> ${home}/starts
for _ in $(seq 200); do [ -S ${socket} ] && exit 0; sleep 0.05; done
exit 1
`);
  chmodSync(script, 0o755);
  const stop = () => {
    if (existsSync(pid)) process.kill(Number(readFileSync(pid, "utf8")), "SIGKILL");
  };
  const started = await rig.run(script);
  if (started.code !== 0) throw new Error(started.said + readFileSync(log, "utf8"));
  return { env: { NIX_REMOTE: "daemon", NIX_DAEMON_SOCKET_PATH: socket }, bin, starts: () => readFileSync(path.join(home, "starts"), "utf8").split("started").length - 1, stop };
}

/** A proxy that breaks off the first NAR in the middle and writes down which ranges were asked for. */
export async function startCutter(target: string): Promise<{ url: string; ranges: (string | undefined)[]; stop(): Promise<void> }> {
  const ranges: (string | undefined)[] = [];
  const server = createServer((incoming, outgoing) => {
    const isNar = incoming.url!.includes("/nar/") && incoming.method === "GET";
    const forwarded = request(new URL(incoming.url!, target), { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      if (!isNar || ranges.push(incoming.headers.range) > 1) return void answer.pipe(outgoing);
      const half = Number(answer.headers["content-length"]) / 2;
      let sent = 0;
      answer.on("data", (chunk: Buffer) => {
        sent += chunk.length;
        outgoing.write(chunk);
        if (sent < half) return;
        answer.destroy();
        // What was written must arrive before the connection breaks.
        setTimeout(() => outgoing.destroy(), 200);
      });
    });
    forwarded.on("error", () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

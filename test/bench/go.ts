import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { goCacher } from "../clients/tools.ts";
import { bundledHelper, GO_ENVIRONMENT, helperFigures, writeModule, type HelperFigures } from "../fixtures/go-command.ts";
import { startServer } from "../fixtures/server.ts";
import { KEYS, startStowhouse } from "../fixtures/stowhouse.ts";
import { run } from "../fixtures/tools.ts";
import { startToxiproxy } from "../fixtures/toxiproxy.ts";

/**
 * Warm go builds through our helper, go-cacher and the helper's own disk store, over links of several kinds, one after the
 * other in every round. The manifest is that of the version before; the server holds all of the newer one as well.
 */
const { values } = parseArgs({
  options: {
    /** Most of one is go-cacher at 200 ms: a hundred seconds for the medium module. */
    rounds: { type: "string", default: "2" },
    modules: { type: "string", default: "medium" },
    /** Round trip in ms, and Mbit/s after a slash. */
    links: { type: "string", default: "0,50,50/1000,50/200,200" },
    /** Links of cold builds, beside one build without a cache; each compiles everything. Empty: none. */
    cold: { type: "string", default: "0,50" },
    /** Keeps what was prepared here, for the next run. */
    work: { type: "string" },
  },
});

interface Module {
  readonly path: string;
  /** Two neighbours. */
  readonly versions: readonly [string, string];
  /** Of a program. */
  readonly package: string;
  /** Packages that a program written for the bench imports, as patterns. */
  readonly imports?: readonly string[];
  /** Look-ups of a warm build, at least. */
  readonly objects: number;
}

const MODULES: Readonly<Record<string, Module>> = {
  small: { path: "golang.org/x/tools", versions: ["v0.48.0", "v0.49.0"], package: "./cmd/stringer", objects: 200 },
  medium: { path: "github.com/google/go-containerregistry", versions: ["v0.22.0", "v0.22.1"], package: "./cmd/crane", objects: 700 },
  // The whole of the Kubernetes client.
  large: {
    path: "sigs.k8s.io/controller-runtime", versions: ["v0.22.3", "v0.22.4"], package: "./everything", objects: 3000,
    imports: [
      "std", "./pkg/...", ...["client-go", "apimachinery", "component-base", "api", "apiextensions-apiserver/pkg/client", "apiextensions-apiserver/pkg/apis", "kube-openapi/pkg"].map((name) => `k8s.io/${name}/...`),
      ...["text", "net", "sys"].map((name) => `golang.org/x/${name}/...`),
    ],
  },
};

interface Took {
  readonly wall: number;
  /** User and system, of the process and all its children, s. */
  readonly cpu: number;
}

const work = values.work ?? mkdtempSync(path.join(tmpdir(), "stowhouse-bench-go-"));
mkdirSync(work, { recursive: true });
const helper = await bundledHelper(work);
const cacher = await goCacher();
const toxiproxy = await startToxiproxy();
const took = new Map<string, Took[]>();
let serial = 0;

/** bash knows the CPU of children and their children. */
async function timed(command: readonly string[], cwd: string, env: Record<string, string>): Promise<Took> {
  const began = performance.now();
  const child = spawn("bash", ["-c", '"$@"; code=$?; times; exit $code', "bash", ...command], { cwd, env: { ...GO_ENVIRONMENT, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += String(chunk)));
  const code = await new Promise((done) => child.once("close", done));
  if (code !== 0) throw new Error(`${command.join(" ")}: ${String(code)}\n${text}`);
  const wall = (performance.now() - began) / 1000;
  const times = [...text.trim().split("\n").slice(-2).join(" ").matchAll(/(\d+)m([\d.]+)s/g)];
  return { wall, cpu: times.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0) };
}

class Bench {
  readonly #name: string;
  readonly #module: Module;
  readonly #home: string;
  readonly #source: string;
  #rounds = 0;
  #programs: string | undefined;

  constructor(name: string, module: Module) {
    this.#name = name;
    this.#module = module;
    this.#home = path.join(work, name);
    this.#source = path.join(this.#home, "source");
    mkdirSync(this.#home, { recursive: true });
  }

  async checkout(version: string): Promise<void> {
    const { stdout } = await run("go", ["mod", "download", "-json", `${this.#module.path}@${version}`], { cwd: this.#home, env: { ...process.env, GOFLAGS: "-mod=mod" }, timeout: 300_000 });
    writeModule(this.#source, (JSON.parse(stdout) as { Dir: string }).Dir);
    await run("chmod", ["-R", "u+w", this.#source]);
    await run("go", ["mod", "download"], { cwd: this.#source, timeout: 600_000 });
    if (this.#module.imports) await this.#writeProgram(this.#module.imports);
  }

  async #writeProgram(patterns: readonly string[]): Promise<void> {
    const importable = '{{if and .GoFiles (ne .Name "main") (not .Error)}}{{.ImportPath}}{{end}}';
    const { stdout } = await run("go", ["list", "-e", "-f", importable, ...patterns], { cwd: this.#source, env: { ...process.env, ...GO_ENVIRONMENT }, timeout: 600_000, maxBuffer: 1 << 24 });
    const names = stdout.trim().split("\n").filter((name) => !/(^|\/)(internal|vendor)(\/|$)/.test(name));
    const directory = path.join(this.#source, this.#module.package);
    mkdirSync(directory);
    writeFileSync(path.join(directory, "main.go"), `package main\n\nimport (\n${names.map((name) => `\t_ "${name}"\n`).join("")})\n\nfunc main() {}\n`);
  }

  #record(what: string, one: Took): Took {
    const name = `${this.#name} ${what}`;
    took.set(name, [...(took.get(name) ?? []), one]);
    console.log(`${name.padEnd(36)} ${one.wall.toFixed(2).padStart(7)} s  cpu ${one.cpu.toFixed(2).padStart(6)} s  load ${loadavg()[0]!.toFixed(1)}`);
    return one;
  }

  /** @param output a directory for programs; one that is there already would spare go their link */
  #build(env: Record<string, string>, output: string): Promise<Took> {
    return timed(["go", "build", "-o", `${output}/`, this.#module.package], this.#source, { GOCACHE: path.join(this.#home, "gocache"), ...env });
  }

  #helper(store: string, settings: Record<string, string>): Record<string, string> {
    return { GOCACHEPROG: helper, STOWHOUSE_GO_DIR: store, STOWHOUSE_GO_STATS: "1", STOWHOUSE_GO_LOG_FILE: path.join(this.#home, "log"), STOWHOUSE_GO_LABEL: "bench", STOWHOUSE_GO_DRAIN: "120s", ...settings };
  }

  /** A directory that is not there; a run that was cut short may have left it. */
  #fresh(): string {
    const directory = path.join(this.#home, `fresh-${++serial}`);
    for (const one of [directory, `${directory}.out`]) rmSync(one, { recursive: true, force: true });
    return directory;
  }

  /** A build without any cache. */
  async uncached(): Promise<void> {
    const cache = this.#fresh();
    this.#record("uncached", await this.#build({ GOCACHE: cache }, `${cache}.out`));
    this.#same(`${cache}.out`);
    for (const one of [cache, `${cache}.out`]) rmSync(one, { recursive: true, force: true });
  }

  /** A cold build whose uploads fill an empty server. */
  async cold(spec: string): Promise<void> {
    const server = await startServer();
    const store = this.#fresh();
    try {
      const { name, url } = await link(spec, server.url);
      this.#record(`cold ${name}`, await this.#build(this.#helper(store, { STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: server.writeKey }), `${store}.out`));
      this.#same(`${store}.out`);
      this.#said();
    } finally {
      for (const one of [store, `${store}.out`]) rmSync(one, { recursive: true, force: true });
      await server.kill();
    }
  }

  /** @throws unless these programs are, byte by byte, those that all the other builds gave, builds without any cache too */
  #same(programs: string): void {
    const digests = readdirSync(programs).map((name) => `${name} ${createHash("sha256").update(readFileSync(path.join(programs, name))).digest("hex")}`).join("\n");
    this.#programs ??= digests;
    if (digests === "" || digests !== this.#programs) throw new Error(`two builds gave two programs:\n${digests}\n${this.#programs}`);
  }

  #said(): HelperFigures {
    const figures = helperFigures(readFileSync(path.join(this.#home, "log"), "utf8"));
    console.log(`  ${figures.text}`);
    return figures;
  }

  /** Fills the server: the old version with its manifest, then the new one under another label. */
  async prepare(url: string): Promise<void> {
    const [old, next] = this.#module.versions;
    const remote = { STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: KEYS.write };
    await this.checkout(old);
    await this.#build(this.#helper(this.local, remote), this.#fresh());
    await this.checkout(next);
    await this.#build(this.#helper(this.local, { ...remote, STOWHOUSE_GO_LABEL: "filling" }), this.#fresh());
    console.log(readFileSync(path.join(this.#home, "log"), "utf8").trim());
    writeFileSync(path.join(this.#home, "prepared"), "");
  }

  /** A disk store that has everything. */
  get local(): string {
    return path.join(this.#home, "local");
  }

  async round(link: Link): Promise<void> {
    const [store, cacherStore, local] = [this.#fresh(), this.#fresh(), this.#fresh()];
    const measures: (readonly [string, () => Promise<Took>])[] = [
      [`ours ${link.name}`, () => this.#build(this.#helper(store, { STOWHOUSE_SERVER: link.url, STOWHOUSE_TOKEN: KEYS.read, STOWHOUSE_GO_READ_ONLY: "1" }), `${store}.out`)],
      [`go-cacher ${link.name}`, () => this.#build({ GOCACHEPROG: `${cacher} -cache-dir ${cacherStore} -cache-server ${link.url}/go -access-token ${KEYS.read}` }, `${cacherStore}.out`)],
      [`local ${link.name}`, () => this.#build(this.#helper(this.local, {}), `${local}.out`)],
      [`transfer ${link.name}`, () => timed(["curl", "-sS", "-f", "-o", "/dev/null", "-X", "POST", "-H", `Authorization: Bearer ${KEYS.read}`, `${link.url}/go/v1/bundle?label=bench`], this.#home, {})],
    ];
    const from = this.#rounds++ % measures.length;
    for (const [name, measure] of [...measures.slice(from), ...measures.slice(0, from)]) {
      this.#record(name, await measure());
      if (!name.startsWith("ours")) continue;
      const { of } = this.#said();
      if (of < this.#module.objects) throw new Error(`a build of ${this.#name} has ${of} look-ups instead of ${this.#module.objects}`);
    }
    for (const one of [store, cacherStore, local]) this.#same(`${one}.out`);
    for (const one of [store, cacherStore, ...[store, cacherStore, local].map((name) => `${name}.out`)]) rmSync(one, { recursive: true, force: true });
  }

  summary(links: readonly Link[]): void {
    const best = (what: string) => Math.min(...(took.get(`${this.#name} ${what}`) ?? []).map(({ wall }) => wall));
    const goal = (what: string, value: number, most: number) => console.log(`${value <= most ? "met   " : "MISSED"}  ${this.#name}, ${what}: ${value.toFixed(2)}, goal ≤ ${most}`);
    for (const { name, rtt } of links) {
      const [ours, cacherTime, local, transfer] = ["ours", "go-cacher", "local", "transfer"].map((what) => best(`${what} ${name}`)) as [number, number, number, number];
      if (rtt === 50) goal(`${name}: ours / (local + transfer)`, ours / (local + transfer), 1.5);
      if (rtt === 50) goal(`${name}: 8 × ours / go-cacher (${(cacherTime / ours).toFixed(1)} times as fast)`, (8 * ours) / cacherTime, 1);
      else goal(`${name}: ours / go-cacher`, ours / cacherTime, 1);
      if (took.has(`${this.#name} cold ${name}`)) goal(`${name}: cold with uploads / uncached`, best(`cold ${name}`) / best("uncached"), 1.1);
    }
  }
}

interface Link {
  readonly name: string;
  readonly rtt: number;
  readonly url: string;
}

/** A way to the server with this delay, a fifth of it at random, and bandwidth. */
async function link(spec: string, server: string): Promise<Link> {
  const [rtt, megabits] = spec.split("/").map(Number) as [number, number | undefined];
  const proxy = await toxiproxy.proxy(new URL(server).host);
  for (const stream of ["upstream", "downstream"] as const) {
    if (rtt > 0) await proxy.addToxic({ type: "latency", stream, attributes: { latency: rtt / 2, jitter: Math.min(rtt / 10, 5) } });
    // toxiproxy counts KB a second.
    if (megabits) await proxy.addToxic({ type: "bandwidth", stream, attributes: { rate: megabits * 125 } });
  }
  return { name: `${rtt} ms${megabits ? ` ${megabits} Mbit/s` : ""}`, rtt, url: `http://${proxy.address}` };
}

const summaries: (() => void)[] = [];
try {
  for (const name of values.modules.split(",")) {
    const data = path.join(work, name, "data");
    const server = await startStowhouse({ data });
    try {
      const bench = new Bench(name, MODULES[name]!);
      const links = await Promise.all(values.links.split(",").map((spec) => link(spec, server.url)));
      if (!existsSync(path.join(work, name, "prepared"))) await bench.prepare(server.url);
      for (let round = 0; round < Number(values.rounds); round++) for (const one of links) await bench.round(one);
      const cold = values.cold.split(",").filter((spec) => spec !== "");
      if (cold.length > 0) await bench.uncached();
      for (const spec of cold) await bench.cold(spec);
      summaries.push(() => bench.summary(links));
    } finally {
      await server.kill();
    }
  }
} finally {
  await toxiproxy.stop();
  if (!values.work) rmSync(work, { recursive: true, force: true });
}
for (const one of summaries) one();

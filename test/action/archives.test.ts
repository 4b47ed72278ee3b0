import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Machine, type Ran } from "./act.ts";

/** Directories that go from job to job, as workflows restore and save them. */

const MODULES = path.resolve(import.meta.dirname, "../../node_modules");

let server: TestServer;
let machine: Machine;
let home: string;
let tree: string;

beforeAll(async () => {
  server = await startServer();
  machine = await Machine.start();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-trees-"));
  // Packages of this repository, with the links npm makes.
  tree = path.join(home, "tree");
  mkdirSync(tree);
  for (const name of ["@actions", "fastify", "yaml", ".bin"]) cpSync(path.join(MODULES, name), path.join(tree, name), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
});
afterAll(async () => {
  machine.stop();
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

const REF = "stowhouse/stowhouse";
// Node sets times to the microsecond, so seconds are compared.
const listed = (directory: string) => `(cd ${directory} && find . -printf '%p %m %T@ %l\\n' | sed -E 's/\\.[0-9]{10} / /' | sort)`;
const same = `diff -r --no-dereference $TREE deps\n[ "$${listed("deps")}" = "$${listed("$TREE")}" ]`;

type Outputs = Record<string, string>;

/** A way to write a workflow: its steps around a build that wants the tree in deps. */
interface Style {
  readonly before: (key: string) => string;
  readonly after?: (key: string) => string;
  /** Whether it says which key was restored. */
  readonly matched: boolean;
}

const setUp = (inputs = "") => `- uses: ${REF}@v1\n  with: { server: "${server.url}", key: "\${{ secrets.KEY }}" ${inputs} }\n`;
const own = () => `server: "${server.url}", api-key: "\${{ secrets.KEY }}"`;
const entry = (key: string) => `path: deps, key: ${key}, restore-keys: deps-`;

const STYLES: Record<string, Style> = {
  "set-up with a path": {
    matched: true,
    before: (key) => `- id: cache\n  uses: ${REF}@v1\n  with: { server: "${server.url}", key: "\${{ secrets.KEY }}", path: deps, cache-key: ${key}, restore-keys: deps- }`,
  },
  "restore and save after set-up": {
    matched: true,
    before: (key) => `${setUp()}- id: cache\n  uses: ${REF}/action/restore@v1\n  with: { ${entry(key)} }`,
    after: (key) => `- uses: ${REF}/action/save@v1\n  with: { path: deps, key: ${key} }`,
  },
  "restore and save by themselves": {
    matched: true,
    before: (key) => `- id: cache\n  uses: ${REF}/action/restore@v1\n  with: { ${own()}, ${entry(key)} }`,
    after: (key) => `- uses: ${REF}/action/save@v1\n  with: { ${own()}, path: deps, key: ${key} }`,
  },
  "cache in place of actions/cache": { matched: false, before: (key) => `- id: cache\n  uses: ${REF}/action/cache@v1\n  with: { ${own()}, ${entry(key)} }` },
};

async function job({ before, after }: Style, key: string, build: string): Promise<Ran> {
  return machine.run(`
${before(key)}
- run: |
    set -e
${build.split("\n").map((line) => `    ${line}`).join("\n")}
    cat > $RESULTS/outputs <<'EOF'
    \${{ toJSON(steps.cache.outputs) }}
    EOF
${after?.(key) ?? ""}`, { secrets: { KEY: server.writeKey }, env: { TREE: tree } });
}

const green = (ran: Ran) => expect(ran.exit, ran.log).toBe(0);

describe.concurrent.each(Object.entries(STYLES))("%s", (name, style) => {
  const prefix = `deps-${Object.keys(STYLES).indexOf(name)}`;
  const scoped: Style = { ...style, before: (key) => style.before(key).replaceAll("deps- }", `${prefix}- }`) };
  const outputs = (hit: string | undefined, matched: string | undefined): Outputs => ({
    ...(hit === undefined ? {} : { "cache-hit": hit }), ...(style.matched && matched !== undefined ? { "cache-matched-key": matched } : {}),
  });

  test("cold, warm, changed, and from a restore key", async () => {
    const cold = await job(scoped, `${prefix}-1`, "test ! -e deps\ncp -a $TREE deps");
    green(cold);
    expect(cold.json("outputs")["cache-hit"] ?? "").toBe("");
    expect(cold.log).toContain(`Cache not found for input keys: ${prefix}-1, ${prefix}-`);
    expect(cold.log).toContain(`Cache saved with key: ${prefix}-1`);

    const warm = await job(scoped, `${prefix}-1`, same);
    green(warm);
    expect(warm.json("outputs")).toMatchObject(outputs("true", `${prefix}-1`));
    expect(warm.log).toContain(style.after ? "Unable to reserve cache with key" : `Cache hit occurred on the primary key ${prefix}-1, not saving cache.`);

    const changed = await job(scoped, `${prefix}-2`, `${same}\necho changed >> deps/yaml/package.json\nrm deps/.bin/tsc\nmkdir deps/empty`);
    green(changed);
    expect(changed.json("outputs")).toMatchObject(outputs("false", `${prefix}-1`));
    expect(changed.log).toContain(`Cache saved with key: ${prefix}-2`);

    const again = await job(scoped, `${prefix}-2`, "tail -n 1 deps/yaml/package.json | grep -x changed\ntest ! -e deps/.bin/tsc\ntest -d deps/empty\ndiff -r --no-dereference $TREE/fastify deps/fastify");
    green(again);
    expect(again.json("outputs")).toMatchObject(outputs("true", `${prefix}-2`));
  });
});

describe("as actions/cache", () => {
  test("lookup-only finds and does not download", async () => {
    const ran = await machine.run(`
- id: one
  uses: ${REF}/action/restore@v1
  with: { ${own()}, path: deps, key: deps-0-1, lookup-only: true }
- id: none
  uses: ${REF}/action/restore@v1
  with: { ${own()}, path: deps, key: other, lookup-only: true }
- run: |
    test ! -e deps && test '\${{ steps.one.outputs.cache-hit }}' = true && test '\${{ steps.none.outputs.cache-hit }}' = '' && test '\${{ steps.none.outputs.cache-primary-key }}' = other`, { secrets: { KEY: server.writeKey } });
    green(ran);
    expect(ran.log).toContain("Cache found and can be restored from key: deps-0-1");
  });

  test("fail-on-cache-miss fails the job", async () => {
    const ran = await machine.run(`- uses: ${REF}/action/restore@v1\n  with: { ${own()}, path: deps, key: nowhere, fail-on-cache-miss: true }`, { secrets: { KEY: server.writeKey } });
    expect(ran.exit, ran.log).not.toBe(0);
    expect(ran.log).toContain("Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: nowhere");
  });

  test("what was saved with other paths is not restored", async () => {
    const ran = await machine.run(`- uses: ${REF}/action/restore@v1\n  with: { ${own()}, path: elsewhere, key: deps-0-1 }\n- run: test ! -e deps`, { secrets: { KEY: server.writeKey } });
    green(ran);
    expect(ran.log).toContain("Cache not found for input keys: deps-0-1");
  });

  test("a path that does not exist is a warning, and patterns with exceptions hold", async () => {
    const ran = await machine.run(`
- run: mkdir -p out/a out/b && echo 1 > out/a/x && echo 2 > out/b/x
- uses: ${REF}/action/save@v1
  with: { ${own()}, path: missing, key: none }
- uses: ${REF}/action/save@v1
  with:
    ${own().replaceAll(", ", "\n    ")}
    key: patterns
    path: |
      out/*
      !out/b
- run: rm -r out
- uses: ${REF}/action/restore@v1
  with:
    ${own().replaceAll(", ", "\n    ")}
    key: patterns
    path: |
      out/*
      !out/b
- run: test -e out/a/x && test ! -e out/b`, { secrets: { KEY: server.writeKey } });
    green(ran);
    expect(ran.log).toMatch(/::warning::|⚠|warning/);
    expect(ran.log).toContain("Path(s) specified in the action for caching do(es) not exist, hence no cache is being saved.");
  });
});

describe("at the end of the job", () => {
  const failing = (saves: string) => `- uses: ${REF}@v1\n  with: { server: "${server.url}", key: "\${{ secrets.KEY }}", path: deps, cache-key: failed-${saves}, save-on-failure: ${saves} }\n- run: mkdir deps && echo x > deps/x && exit 1`;

  test("a failed job saves only when asked to", async () => {
    const [asked, not] = [await machine.run(failing("true"), { secrets: { KEY: server.writeKey } }), await machine.run(failing("false"), { secrets: { KEY: server.writeKey } })];
    expect([asked.exit !== 0, not.exit !== 0]).toEqual([true, true]);
    expect(asked.log).toContain("Cache saved with key: failed-true");
    expect(not.log).toContain("The job ended with failure, not saving cache.");
  });

  test("nothing is left behind, and the summary tells what happened", async () => {
    const ran = await machine.run(`- uses: ${REF}@v1\n  with: { server: "${server.url}", key: "\${{ secrets.KEY }}", path: deps, cache-key: left }\n- run: mkdir deps && echo x > deps/x && ls -d "$RUNNER_TEMP"/stowhouse/daemon-* && echo "$STOWHOUSE_SERVER" > $RESULTS/daemon`, { secrets: { KEY: server.writeKey } });
    green(ran);
    expect(ran.log).toMatch(/\| save \| <code>left<\/code> \| saved \| 1 \|/);
    await expect(fetch(ran.result("daemon").trim())).rejects.toThrow();
  });
});

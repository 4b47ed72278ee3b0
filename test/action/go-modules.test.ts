import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { run } from "../fixtures/tools.ts";
import { Machine, type Ran } from "./act.ts";

/** Go's own cache of modules, about 2,000 files in directories nobody may write to, from job to job. */

const PROGRAM = `package main

import "github.com/rhysd/actionlint"

func main() { println(len(actionlint.BuiltinUntrustedInputs)) }
`;

let server: TestServer;
let machine: Machine;
let home: string;
/** Go's settings: modules this machine has, then where it gets them. */
let go: Record<string, string>;

beforeAll(async () => {
  server = await startServer();
  machine = await Machine.start();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-modules-"));
  const [cache, proxy] = (await run("go", ["env", "GOMODCACHE", "GOPROXY"])).stdout.trim().split("\n") as [string, string];
  go = { GOPROXY: `file://${cache}/cache/download,${proxy}`, GOSUMDB: "off", GOFLAGS: "-mod=mod", GOTOOLCHAIN: "local", GOMODCACHE: path.join(home, "modules") };
  const app = path.join(home, "app");
  mkdirSync(app);
  writeFileSync(path.join(app, "main.go"), PROGRAM);
  writeFileSync(path.join(app, "go.mod"), "module example.com/app\n\ngo 1.23\n\nrequire github.com/rhysd/actionlint v1.7.12\n");
  await run("go", ["mod", "tidy"], { cwd: app, env: { ...process.env, ...go }, timeout: 120_000 });
});
afterAll(async () => {
  // As Go leaves it, only root could remove it.
  await run("chmod", ["-R", "u+w", home, machine.home]);
  machine.stop();
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

/** What there is: names, modes, links, and the bytes of all files. */
const LISTED = `(cd gomod && find . -printf '%p %y %m %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)`;
const OFFLINE = "GOPROXY=off go mod download && GOPROXY=off go mod verify | grep -x 'all modules verified' && GOPROXY=off go list -deps . > /dev/null";

function job(key: string, build: string): Promise<Ran> {
  const { GOMODCACHE: _, ...settings } = go;
  return machine.run(`
- id: cache
  uses: stowhouse/stowhouse@v1
  with: { server: "${server.url}", key: "\${{ secrets.KEY }}", path: gomod, cache-key: "${key}", restore-keys: go- }
- run: |
    set -e
    cp $APP/* .
    export GOMODCACHE=$PWD/gomod
${build.split("\n").map((line) => `    ${line}`).join("\n")}
    ${LISTED} > $SEEN/${key}
    cat > $RESULTS/outputs <<'EOF'
    \${{ toJSON(steps.cache.outputs) }}
    EOF`, { secrets: { KEY: server.writeKey }, env: { ...settings, APP: path.join(home, "app"), SEEN: home, GOCACHE: path.join(home, "build") } });
}

test("cold, warm, changed, and from a restore key: Go finds every module as it left it, without a network", async () => {
  const cold = await job("go-1", "test ! -e gomod\ngo mod download\ngo mod verify");
  expect(cold.exit, cold.log).toBe(0);
  expect(cold.log).toContain("Cache saved with key: go-1");
  cpSync(path.join(home, "go-1"), path.join(home, "first"));

  const warm = await job("go-1", `${LISTED} | diff $SEEN/first -\n${OFFLINE}`);
  expect(warm.exit, warm.log).toBe(0);
  expect(warm.json("outputs")).toMatchObject({ "cache-hit": "true", "cache-matched-key": "go-1" });
  expect(warm.log).toContain("not saving cache");

  // One module more, about 2 % of the bytes.
  const changed = await job("go-2", `${LISTED} | diff $SEEN/first -\n${OFFLINE}\ngo mod download gopkg.in/yaml.v3@v3.0.1`);
  expect(changed.exit, changed.log).toBe(0);
  expect(changed.json("outputs")).toMatchObject({ "cache-hit": "false", "cache-matched-key": "go-1" });
  expect(changed.log).toContain("Cache saved with key: go-2");

  const again = await job("go-2", `cp $SEEN/go-2 $SEEN/second\n${LISTED} | diff $SEEN/second -\n${OFFLINE}\nGOPROXY=off go mod download gopkg.in/yaml.v3@v3.0.1`);
  expect(again.exit, again.log).toBe(0);
  expect(again.json("outputs")).toMatchObject({ "cache-hit": "true" });
  const [, sent, unit, total] = /\| save \| <code>go-2<\/code> \| saved \| \d+ \| ([\d.]+) (KB|MB) \| ([\d.]+) MB \|/.exec(changed.log)!;
  expect(Number(sent) / Number(total), changed.log).toBeLessThan(unit === "KB" ? 1_000 : 0.06);
});

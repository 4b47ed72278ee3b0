import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { npmClients } from "../clients/tools.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Machine } from "./act.ts";

/** Steps that nobody changed, on a runner that forces GitHub's own cache service on them. */

const HERE = path.join(import.meta.dirname, "toolkit-action");

let server: TestServer;
let machine: Machine;
let home: string;

beforeAll(async () => {
  server = await startServer();
  machine = await Machine.start();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-toolkit-"));
});
afterAll(async () => {
  machine.stop();
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

/** An action with this major version of @actions/cache in it. */
async function toolkitAction(major: string): Promise<string> {
  const directory = path.join(home, major);
  mkdirSync(directory);
  cpSync(path.join(HERE, "action.yml"), path.join(directory, "action.yml"));
  await build({
    entryPoints: [path.join(HERE, "main.mjs")], outfile: path.join(directory, "dist/main.mjs"), bundle: true, platform: "node", target: "node24", format: "esm", logLevel: "error",
    alias: { "@actions/cache": path.join(await npmClients(), "node_modules", `cache${major}`, "lib/cache.js") },
    banner: { js: "import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);" },
  });
  return directory;
}

test.each(["4", "5", "6"])("@actions/cache %s saves to Stowhouse and restores from it", async (major) => {
  const ran = await machine.run(`
- uses: stowhouse/stowhouse@v1
  with: { server: "${server.url}", key: "\${{ secrets.KEY }}", intercept-actions-cache: on }
- run: mkdir deps && head -c 3000000 /dev/urandom > deps/big && cp deps/big $RESULTS/saved
- uses: actions/toolkit@v${major}
  with: { op: save, path: deps, key: toolkit-${major} }
- run: rm -r deps
- id: cache
  uses: actions/toolkit@v${major}
  with: { op: restore, path: deps, key: toolkit-${major} }
- run: cmp deps/big $RESULTS/saved && test '\${{ steps.cache.outputs.hit }}' = toolkit-${major}`, {
    secrets: { KEY: server.writeKey }, actions: { [`actions/toolkit@v${major}`]: await toolkitAction(major) },
    forced: { ACTIONS_RESULTS_URL: "https://results-receiver.actions.githubusercontent.com/", ACTIONS_RUNTIME_TOKEN: "a-token-of-the-runner", ACTIONS_CACHE_SERVICE_V2: "True" },
  });
  expect(ran.exit, ran.log).toBe(0);
  expect(ran.log).not.toContain("a-token-of-the-runner");
  expect(ran.log).toMatch(/\| github-actions \| 1 \| 0 \| 100 % \| 1 \| 0 \|/);
});

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { Machine } from "./act.ts";

/** Runs real actions twice under interception; the second run must find what the first has saved. See real.sh. */

const { STOWHOUSE_SERVER: server, STOWHOUSE_TOKEN: key } = process.env;
if (!server || !key) throw new Error("set STOWHOUSE_SERVER and STOWHOUSE_TOKEN");

/** Steps that use each action, and what its log says of a hit. */
const KNOWN: Readonly<Record<string, { readonly steps: (uses: string, run: string) => string; readonly hit: RegExp }>> = {
  Cache: {
    steps: (uses, run) => `- uses: ${uses}\n  with: { path: deps, key: real-${run} }\n- run: mkdir -p deps && date > deps/x`,
    hit: /Cache restored from key: real-|Cache hit for: real-/,
  },
  "Setup Node.js environment": {
    steps: (uses, run) => `- run: echo '{"name":"x","lockfileVersion":3,"run":"${run}","packages":{}}' > package-lock.json; mkdir -p "$(npm config get cache)"; date > "$(npm config get cache)/x"\n- uses: ${uses}\n  with: { cache: npm }`,
    hit: /Cache restored from key: node-cache-|Cache hit for: node-cache-/,
  },
};

const machine = await Machine.start();
try {
  for (const directory of process.argv.slice(2).map((one) => path.resolve(one))) {
    const file = ["action.yml", "action.yaml"].map((name) => path.join(directory, name)).find((name) => existsSync(name));
    const { name } = parse(readFileSync(file ?? path.join(directory, "action.yml"), "utf8")) as { name: string };
    const known = KNOWN[name];
    if (!known) throw new Error(`${directory} is "${name}"; known are ${Object.keys(KNOWN).join(", ")}`);
    const uses = `acme/${path.basename(directory).replaceAll(/[^\w-]/g, "-")}@v1`;
    const steps = `- uses: stowhouse/stowhouse@v1\n  with: { server: "${server}", key: "\${{ secrets.KEY }}", intercept-actions-cache: on }\n${known.steps(uses, String(Date.now()))}`;
    const once = () => machine.run(steps, {
      // The same in both runs, because it is part of what is looked up.
      env: { npm_config_cache: path.join(machine.home, "npm") },
      secrets: { KEY: key }, actions: { [uses]: directory },
      forced: { ACTIONS_RESULTS_URL: "https://results-receiver.actions.githubusercontent.com/", ACTIONS_RUNTIME_TOKEN: "a-token-of-the-runner", ACTIONS_CACHE_SERVICE_V2: "True" },
    });
    const runs = [await once(), await once()];
    const well = runs.every(({ exit }) => exit === 0) && known.hit.test(runs[1]!.log);
    console.log(well ? `${name}: saved, and found again` : runs.map(({ log }) => log).join("\n"));
    if (!well) process.exitCode = 1;
  }
} finally {
  machine.stop();
}

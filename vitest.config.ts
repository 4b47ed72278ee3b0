import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const MINUTE = 60_000;

/** A folder of test/: everything in it starts processes of its own, so its files run one after the other. */
function suite(name: string, testTimeout: number, more: object = {}) {
  return { test: { name, include: [`test/${name}/**/*.test.ts`], fileParallelism: false, testTimeout, hookTimeout: 5 * MINUTE, ...more } };
}

export default defineConfig({
  test: {
    projects: [
      // A core is left over by default, on two cores one of them; these tests wait for a third of their time.
      { test: { name: "unit", include: ["server/**/*.test.ts", "action/**/*.test.ts", "operator/**/*.test.ts", "charts/**/*.test.ts"], testTimeout: 20_000, maxWorkers: availableParallelism() } },
      suite("process", 2 * MINUTE),
      suite("clients", 5 * MINUTE),
      suite("nix", 2 * MINUTE),
      suite("action", 5 * MINUTE),
      suite("go", 5 * MINUTE),
      suite("s3", 2 * MINUTE),
      suite("postgres", 2 * MINUTE),
      suite("crash", 30 * MINUTE),
      suite("faults", 10 * MINUTE),
      suite("fuzz", 10 * MINUTE),
      suite("charts", 5 * MINUTE),
      suite("cluster", 5 * MINUTE, { globalSetup: "test/cluster/rig/up.ts" }),
      suite("control-plane", 5 * MINUTE, { globalSetup: "test/cluster/rig/up.ts" }),
    ],
  },
});

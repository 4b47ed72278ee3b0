import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { goProgram } from "../clients/tools.ts";
import { bundledHelper, GoMachine, writeModule } from "../fixtures/go-command.ts";
import { startServer } from "../fixtures/server.ts";
import { run } from "../fixtures/tools.ts";

/**
 * Linters on top of Go's cache, cold on one machine and warm on another: too long for every change, because
 * golangci-lint has 1,222 packages to compile wherever the tool is not there yet. `npm run soak:go` runs it before the bench of three modules.
 */
const LINTERS = [
  { name: "staticcheck", program: "honnef.co/go/tools/cmd/staticcheck", version: "v0.8.2", args: ["./..."] },
  { name: "golangci-lint", program: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", version: "v2.15.0", args: ["run", "./..."] },
];

const home = mkdtempSync(path.join(tmpdir(), "stowhouse-soak-go-"));
const source = path.join(home, "module");
writeModule(source, path.join(import.meta.dirname, "module"));
const helper = await bundledHelper(home);
const server = await startServer();
let failed = false;
try {
  for (const { name, program, version, args } of LINTERS) {
    const lint = await goProgram(program, version);
    const figures = [];
    for (const [turn, key] of [["cold", server.writeKey], ["warm", server.readKey]] as const) {
      const machine = new GoMachine(helper);
      const env = machine.env({
        STOWHOUSE_SERVER: server.url, STOWHOUSE_TOKEN: key, STATICCHECK_CACHE: path.join(machine.directory, "staticcheck"), GOLANGCI_LINT_CACHE: path.join(machine.directory, "golangci-lint"),
        GOLANGCI_LINT_CACHEPROG: `${helper} --prefix golangci-lint`,
      });
      const began = performance.now();
      await run(lint, args, { cwd: source, timeout: 600_000, maxBuffer: 1 << 24, env: { PATH: process.env["PATH"], HOME: process.env["HOME"], CGO_ENABLED: "0", GOTOOLCHAIN: "local", ...env } });
      const lines = machine.log().trim().split("\n").filter((line) => line.includes(" found (disk "));
      const made = lines.reduce((sum, line) => sum + Number(/(\d+) made/.exec(line)![1]), 0);
      figures.push(made);
      console.log(`${name}, ${turn}: ${((performance.now() - began) / 1000).toFixed(1)} s, ${made} made\n  ${lines.join("\n  ")}`);
      machine.remove();
    }
    const [cold, warm] = figures as [number, number];
    const met = cold > 50 && warm <= cold / 10;
    failed ||= !met;
    console.log(`${met ? "met   " : "MISSED"}  ${name}: made ${cold} cold, ${warm} warm`);
  }
} finally {
  await server.stop();
  rmSync(home, { recursive: true, force: true });
}
if (failed) process.exitCode = 1;

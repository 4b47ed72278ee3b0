import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

/** A repository whose suites and test runners do what the name of their file says. */
let repository: string;

const report = (passed: number, failed: number, skipped = 0) =>
  `node -e 'require("fs").writeFileSync(process.argv.at(-1).split("=")[1], JSON.stringify({ numTotalTests: ${passed + failed + skipped}, numPassedTests: ${passed}, numFailedTests: ${failed} })); process.exitCode = ${Math.sign(failed)}' --`;

beforeAll(() => {
  repository = mkdtempSync(path.join(tmpdir(), "stowhouse-ci-"));
  cpSync(path.resolve(import.meta.dirname, "../../.ci"), path.join(repository, ".ci"), { recursive: true });
  rmSync(path.join(repository, ".ci/suites"), { recursive: true });
  mkdirSync(path.join(repository, ".ci/suites"));
  const suites = {
    good: "check one true\ncheck two test -f package.json\ntests good\n",
    bad: "check one false\nboth() { false; true; }\ncheck 'an error inside a function' both\ncheck three true\n",
    red: "tests red\n",
    crash: "tests crash\n",
    silent: "tests silent\n",
    skipping: "tests skipping\n",
    broken: "check one true\nno-such-command\ncheck two true\n",
    reading: "check 'standard input is closed' bash -c '! read -r'\n",
  };
  for (const [name, text] of Object.entries(suites)) writeFileSync(path.join(repository, `.ci/suites/${name}.sh`), text);
  const scripts = {
    "test:good": report(5, 0),
    "test:red": report(3, 2),
    "test:crash": "exit 139 #",
    "test:silent": "true",
    "test:skipping": report(4, 0, 1),
  };
  writeFileSync(path.join(repository, "package.json"), JSON.stringify({ scripts }));
});

afterAll(() => rmSync(repository, { recursive: true, force: true }));

function ci(...suites: string[]): { code: number | null; last: string | undefined } {
  const { status, stdout } = spawnSync("bash", [path.join(repository, ".ci/run"), ...suites], { cwd: "/", encoding: "utf8", timeout: 60_000 });
  return { code: status, last: stdout.trimEnd().split("\n").at(-1) };
}

test("checks and tests are summed up in the last line", () => {
  expect(ci("good")).toEqual({ code: 0, last: "7 passed, 0 failed" });
});

test("a failed check fails the run, which goes on", () => {
  expect(ci("bad", "good")).toEqual({ code: 1, last: "8 passed, 2 failed" });
});

test("failed tests are counted one by one", () => {
  expect(ci("red")).toEqual({ code: 1, last: "3 passed, 2 failed" });
});

test.each([
  ["a runner that crashes without a report", "crash", "0 passed, 1 failed"],
  ["a runner that reports nothing and ends well", "silent", "0 passed, 1 failed"],
  ["a skipped test", "skipping", "4 passed, 1 failed"],
  ["a suite that breaks off", "broken", "1 passed, 1 failed"],
  ["a suite that does not exist", "missing", "0 passed, 1 failed"],
])("%s is a failure", (_fact, suite, last) => {
  expect(ci(suite)).toEqual({ code: 1, last });
});

test("nothing waits for input", () => {
  expect(ci("reading")).toEqual({ code: 0, last: "1 passed, 0 failed" });
});

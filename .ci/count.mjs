/** Prints "PASSED FAILED" of a vitest report. @param argv the report's path and the runner's exit code */
import { readFileSync } from "node:fs";

const [path, code] = process.argv.slice(2);
let report;
try {
  report = JSON.parse(readFileSync(path, "utf8"));
} catch {
  console.error(`no report in ${path}`);
}
const passed = report?.numPassedTests ?? 0;
// Skipped and unfinished tests prove nothing, so they count as failed.
let failed = (report?.numTotalTests ?? 0) - passed;
if (failed === 0 && (code !== "0" || passed === 0)) failed = 1;
console.log(passed, failed);

import { expect, test } from "vitest";
import type { Transfer } from "./archives.ts";
import { summary } from "./summary.ts";

const transfer: Transfer = { op: "save", status: "saved", via: "stowhouse", key: "deps-1", moved: 5_000_000, total: 100_000_000, files: 1200, ms: 2_000, unchanged: false };
const base = { server: "https://cache.example.com", mode: "write", reason: "GitHub's identity of this job", transfers: [], metrics: undefined };

test("a save tells what went over the network, how fast, and what was spared", () => {
  const text = summary({ ...base, transfers: [transfer] });
  expect(text).toContain("Mode **write** at https://cache.example.com (GitHub's identity of this job)");
  expect(text).toContain("| save | <code>deps-1</code> | saved | 1200 | 5.0 MB | 100 MB | 2.0 s | 2.5 MB/s | 38.0 s |");
});

test("nothing is made up from a transfer too small to measure", () => {
  expect(summary({ ...base, transfers: [{ ...transfer, moved: 600, unchanged: true }] })).toMatch(/saved, unchanged .*\| 300 B\/s \| {2}\|$/m);
});

test("protocols that did something have a row, and troubles are named", () => {
  const idle = { hits: 0, misses: 0, stored: 0, failed: 0, bytesIn: 0, bytesOut: 0, msWaited: 0 };
  const text = summary({ ...base, metrics: { perProtocol: [{ protocol: "nip", ...idle }, { protocol: "github-actions", ...idle, hits: 3, misses: 1, stored: 1, bytesIn: 2_000, msWaited: 1_500 }], breakerOpened: 1, unsentBytes: 2048, restarts: 0 } });
  expect(text).toContain("| github-actions | 3 | 1 | 75 % | 1 | 0 | 2.0 KB | 0 B | 1.5 s |");
  expect(text).not.toContain("| nip |");
  expect(text).toContain("- A server was found dead or sick 1 times; tools went on without it.\n- 2.0 KB of uploads did not reach a server in time.\n");
});

test("keys and reasons can't break out of their cells", () => {
  const text = summary({ ...base, reason: "a\nb <script>", transfers: [{ ...transfer, key: "a|b\n# c<b>" }] });
  expect(text).toContain("<code>a&#124;b # c&#60;b&#62;</code>");
  expect(text).toContain("(a b &#60;script&#62;)");
});

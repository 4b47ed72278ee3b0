import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NixClient, STORE, testPath } from "../fixtures/nix.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";

const bin = path.resolve(import.meta.dirname, "../../server/bin.mjs");
const lib = testPath("cli-lib");
const app = testPath("cli-app", undefined, { references: [lib.info.storePath, testPath("cli-absent").info.storePath] });

let server: TestServer;
let client: NixClient;
beforeAll(async () => {
  server = await startServer();
  client = new NixClient(`${server.url}/nix/default`, server.adminKey);
  for (const one of [lib, app]) expect(await client.push(one)).toBe(204);
});
afterAll(() => server.stop());

function stowhouse(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env["PATH"]!, STOWHOUSE_SERVER: server.url, STOWHOUSE_TOKEN: server.adminKey };
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], { cwd: tmpdir(), env, timeout: 60_000 }, (error, out, err) => resolve({ code: error === null ? 0 : Number((error as { code?: unknown }).code ?? -1), out, err }));
  });
}

describe("stowhouse nix", () => {
  test("pin keeps a closure and says what it lacks, pins lists it, unpin lets it go", async () => {
    const target = `${STORE}/${app.info.storePath}`;
    const made = await stowhouse("nix", "pin", "release", target, "--revisions", "3", "--artifact", "bin/app");
    expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^release revision 1: 2 paths \(\d+ B\) stay until 3 more revisions\.\n$/)]);
    expect(made.err).toContain(testPath("cli-absent").info.storePath);
    const listed = await stowhouse("nix", "pins");
    expect(listed.out).toMatch(/^NAME +REVISION +STORE PATH.*\nrelease +1 +\/nix\/store\/\S+-cli-app +2 /);
    expect(JSON.parse((await stowhouse("nix", "pins", "--json")).out)).toMatchObject([{ name: "release", keep: { revisions: 3 }, artifacts: ["bin/app"], missing: 1 }]);
    expect(await stowhouse("nix", "unpin", "release")).toEqual({ code: 0, out: "1 revision of release unpinned.\n", err: "" });
    expect((await stowhouse("nix", "unpin", "release")).code).toBe(1);
    expect((await stowhouse("nix", "pin", "x", `${STORE}/${testPath("cli-absent").info.storePath}`)).code).toBe(1);
    expect((await stowhouse("nix", "pin", "x", target, "--days", "3", "--forever")).err).toContain("one of --days, --revisions and --forever");
  });

  test("fsck ends with 0 where nothing is at fault, with 1 while something is, and repairs when it is told to", async () => {
    const sound = await stowhouse("nix", "fsck", "--verify-content");
    expect([sound.code, sound.err]).toEqual([0, ""]);
    expect(sound.out).toMatch(/^2 narinfos and 2 NARs looked at, every byte of them read\.\n0 without their NAR, 0 wrong; 0 NARs corrupt, 0 unused\.\n1 references to paths that are not here/);
    expect(await client.status("DELETE", `/${lib.info.url}`)).toBe(204);
    for (const args of [[], ["--repair", "--dry-run"]]) {
      const found = await stowhouse("nix", "fsck", ...args);
      expect([found.code, found.out]).toEqual([1, expect.stringMatching(new RegExp(`^lost: ${lib.hash} \\(default, local:main\\): ${lib.info.storePath}: its NAR is gone\n`))]);
    }
    const repaired = await stowhouse("nix", "fsck", "--repair", "--cache", "default", "--json");
    expect([repaired.code, JSON.parse(repaired.out)]).toMatchObject([0, { repair: true, report: { lost: 1, removed: 1 } }]);
    expect((await stowhouse("nix", "fsck")).code).toBe(0);
  });

  test("gc --dry-run says what would go and why, and lets it be", async () => {
    expect(await stowhouse("gc", "--dry-run")).toMatchObject({ code: 0, out: "0 entries (0 B) would be evicted.\n" });
    expect(JSON.parse((await stowhouse("gc", "-n", "--json")).out)).toEqual({ entries: 0, bytes: 0, cut: false, sums: [], first: [] });
  });
});

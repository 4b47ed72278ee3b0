import { Command } from "commander";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { defaultConfig } from "../app.ts";
import { registerMigrateCommand } from "./migrate-config.ts";

const folder = mkdtempSync(join(tmpdir(), "stowhouse-migrate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs it as the shell would. */
async function run(...args: string[]): Promise<{ out: string; err: string }> {
  let [out, err] = ["", ""];
  const program = new Command("stowhouse").exitOverride();
  registerMigrateCommand(program, { env: {}, stdout: { write: (text) => (out += text) }, stderr: { write: (text) => (err += text) } });
  await program.parseAsync(["migrate-config", ...args], { from: "user" });
  return { out, err };
}
function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const KEY = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
const YAML = `cache:\n  hostname: ncps.local\n  max-size: 10G\n  upstream:\n    urls: [https://cache.nixos.org]\n    public-keys: ["${KEY}"]\nserver:\n  addr: ":8501"\n`;
const TOML = `[cache]\nhostname = "ncps.local"\nmax-size = "10G"\n[cache.upstream]\nurls = ["https://cache.nixos.org"]\npublic-keys = ["${KEY}"]\n[server]\naddr = ":8501"\n`;
const JSON_TEXT = JSON.stringify(parse(YAML));
/** As the thesis shows it. */
const THESIS = `
server:
  database: "node.db"
  hostname: "0.0.0.0"
  standalone: false
  dht-port: 4222
  dht-bootstrap-host: "other-node"
  dht-bootstrap-port: 4223
  server-port: 5001
  deploy-port: 5002
  key: "your-secret-key-here"
  default-retention: 4
  default-port: 8080
caches:
  - name: "main"
    retention: 7
    port: 8081
    storage-strategy: "split"
    storages:
      - { name: "local-fast", type: "local", root: "binary-caches", split: 40 }
      - { name: "remote", type: "s3", root: "binary-caches", s3_bucket: "cache-1", s3_region: "eu-central-1", s3_access_key: "access-key", s3_secret_key: "secret-key", split: 60 }
workspaces:
  - { name: "workspace1", cache: "main" }
agents:
  - { name: "agent1", workspace: "workspace1" }
`;

describe("what is printed", () => {
  test.each([["yaml", YAML], ["toml", TOML], ["json", JSON_TEXT]])("of ncps's %s is a configuration this server takes, with comments", async (extension, text) => {
    const { out, err } = await run(file(`ncps.${extension}`, text));
    const config = defaultConfig(parse(out));
    expect(config.listen).toEqual({ host: "0.0.0.0", port: 8501 });
    expect(config.caches["default"]).toMatchObject({ quota: 10 * 2 ** 30, anonymousRead: true });
    expect(out).toContain("quota: 10GiB # cache.max-size");
    expect(err).toMatch(/To be done by hand:\n {2}signing key: /);
  });

  test("of cache-server's file is, too; what is dropped and what is to be done is said elsewhere", async () => {
    const { out, err } = await run(file("thesis.yaml", THESIS));
    const config = defaultConfig(parse(out));
    expect(config.caches["main"]).toMatchObject({ retention: 7 * 86_400_000, placement: "split", shares: { "local-fast": 40, remote: 60 } });
    expect(config.storages["remote"]).toMatchObject({ type: "s3", s3: { bucket: "cache-1", prefix: "binary-caches/stowhouse" } });
    for (const setting of ["server.standalone", "server.dht-bootstrap-host", "server.key"]) expect(err).toContain(`  ${setting}: `);
    for (const todo of ["other servers", "tokens", "signing key of main"]) expect(err.split("To be done by hand:")[1]).toContain(`  ${todo}: `);
    expect(out + err).not.toContain("your-secret-key-here");
  });

  test("of options counts more than what the file says", async () => {
    const { out } = await run(file("both.yaml", YAML), "--", "--cache-max-size=20G", "--server-addr", "127.0.0.1:9000");
    expect(parse(out)).toMatchObject({ listen: "127.0.0.1:9000", caches: { default: { quota: "20GiB" } }, protocols: { nix: { caches: { default: { keyName: "ncps.local" } } } } });
  });

  test("needs no file", async () => {
    const { out } = await run("--", "--cache-hostname=h", "--cache-storage-local=/storage");
    expect(parse(out)).toMatchObject({ data: "/storage/stowhouse" });
  });
});

describe("refused with a word of what to do is", () => {
  test.each([
    ["nothing at all", [], "name a configuration file"],
    ["a file that isn't there", ["/nonexistent/x.yaml"], "can't be read"],
    ["a file of neither", [file("neither.yaml", "a: 1\n")], "no configuration of ncps"],
    ["one that could be both", [file("both-kinds.yaml", "cache: {}\ncaches: []\n")], "--from"],
    ["one of ours", [file("ours.yaml", "listen: 127.0.0.1:1\n")], "already"],
    ["a list", [file("list.yaml", "- a\n")], "holds no settings"],
    ["an unknown option of ncps", ["--", "--nonsense=1"], "--nonsense is no setting"],
    ["options beside cache-server's file", [file("thesis-2.yaml", THESIS), "--", "--log-level=info"], "only ncps has options"],
  ])("%s", async (_what, args, message) => {
    await expect(run(...args)).rejects.toThrow(message);
  });
});

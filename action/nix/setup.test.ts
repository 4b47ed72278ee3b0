import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { nix } from "../../server/protocols/nix/index.ts";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { fakeStep } from "../../test/fixtures/step.ts";
import { setUpNix, undoNix, withEntry } from "./setup.ts";

/** Nix is a script here that shows settings; the real one is in test/nix. */

let app: TestApp;
let url: string;
let home: string;
const loopback = new Loopback();

beforeAll(async () => {
  app = await startApp({}, [nix]);
  url = await app.listen();
});
afterAll(async () => {
  await Promise.all([app.close(), loopback.close()]);
});
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-nix-"));
  return () => rmSync(home, { recursive: true, force: true });
});

const setting = (value: unknown, defaultValue: unknown = value) => ({ value, defaultValue });
const USUAL = { "netrc-file": setting("/nonexistent/netrc"), store: setting("auto"), "trusted-users": setting(["root"]), fallback: setting(false), "connect-timeout": setting(0), "download-attempts": setting(5) };

function script(name: string, text: string): void {
  mkdirSync(path.join(home, "bin"), { recursive: true });
  writeFileSync(path.join(home, "bin", name), `#!/bin/sh\n${text}\n`);
  chmodSync(path.join(home, "bin", name), 0o755);
}

/** A job of a machine whose Nix has these settings; every other program is the machine's own. */
function jobWith(settings: object, env: Record<string, string> = {}) {
  writeFileSync(path.join(home, "settings.json"), JSON.stringify({ ...USUAL, ...settings }));
  // As Nix 2.8, which knows `nix config` not yet.
  script("nix", `case "$*" in *show-config*) cat ${home}/settings.json ;; *) echo "error: no such command" >&2; exit 1 ;; esac`);
  const directory = path.join(home, "own");
  mkdirSync(directory, { recursive: true });
  const step = fakeStep({}, { PATH: `${home}/bin:${process.env["PATH"]}`, NIX_STATE_DIR: home, NIX_CONF_DIR: path.join(home, "etc"), ...env });
  return { step, directory, read: (name: string) => readFileSync(path.join(directory, name), "utf8") };
}

const BEFORE = "trusted-users = nobody\nsandbox = false";
const conf = () => path.join(home, "etc/nix.conf");

/** A machine with a nix-daemon that trusts others. */
function multiUser(): ReturnType<typeof jobWith> {
  mkdirSync(path.join(home, "etc"), { recursive: true });
  writeFileSync(conf(), BEFORE);
  // Whether by root or by sudo, it ends in these.
  script("sudo", 'shift; exec "$@"');
  script("systemctl", `echo "$*" >> ${home}/restarts`);
  return jobWith({ "trusted-users": setting(["nobody", "@no-such-group"], ["root"]) }, { NIX_REMOTE: "daemon" });
}

const connections = () => [{ url, token: KEYS.read }];
const daemon = { url: "http://127.0.0.1:4711", token: "s3cret" };

test("Nix is told of the daemon by a file of the job, after what its user has told it", async () => {
  const { step, directory, read } = jobWith({ "connect-timeout": setting(30, 0) }, { NIX_CONFIG: "cores = 2" });
  await setUpNix(step, { endpoint: daemon, direct: false, connections: connections(), directory });
  expect(step.exported.get("NIX_CONFIG")).toBe(`cores = 2\n!include ${directory}/nix.conf`);
  expect(read("nix.conf")).toMatch(/^extra-substituters = http:\/\/127\.0\.0\.1:4711\/s\/s3cret\/nix\nextra-trusted-public-keys = default-1:\S+\nfallback = true\ndownload-attempts = 2\n$/);
  expect(statSync(path.join(directory, "nix.conf")).mode & 0o777).toBe(0o600);
  expect(existsSync(path.join(directory, "netrc"))).toBe(false);
});

test("straight to the server it gets a netrc with what the user had in it", async () => {
  writeFileSync(path.join(home, "netrc"), "machine mine login a password b\ndefault login c password d\n");
  const { step, directory, read } = jobWith({ "netrc-file": setting(path.join(home, "netrc")) });
  await setUpNix(step, { endpoint: { url, token: "jwt" }, direct: true, connections: connections(), directory });
  expect(read("nix.conf")).toContain(`extra-substituters = ${url}/nix\n`);
  expect(read("nix.conf")).toContain(`netrc-file = ${directory}/netrc\n`);
  expect(read("netrc")).toBe("machine mine login a password b\nmachine 127.0.0.1\nlogin stowhouse\npassword jwt\ndefault login c password d\n");
  expect(statSync(path.join(directory, "netrc")).mode & 0o777).toBe(0o600);
});

test.each([
  ["", "E"], ["machine a password b", "machine a password b\nE"], ["machine a\n", "machine a\nE"], ["default login x", "Edefault login x"],
  ["machine a\nlogin defaulted\n", "machine a\nlogin defaulted\nE"], ["machine a login b password c default login d", "machine a login b password c \nEdefault login d"],
])("an entry comes after all of %j that decide, and before the default", (netrc, expected) => {
  expect(withEntry(netrc, "E")).toBe(expected);
});

describe("nothing is changed", () => {
  const refusal = async (more: object = {}, env = {}, request: object = {}) => {
    const { step, directory } = jobWith(more, env);
    const error: unknown = await setUpNix(step, { endpoint: daemon, direct: false, connections: connections(), directory, ...request }).catch((thrown: unknown) => thrown);
    expect(step.exported.size).toBe(0);
    return (error as Error).message;
  };

  test("where no server has keys for the job", async () => {
    const dead = (await loopback.dead()).origin;
    expect(await refusal({}, {}, { connections: [{ url: dead, token: "x" }] })).toBe("connection refused");
    const other = (await loopback.http((_, response) => void response.writeHead(404).end())).origin;
    expect(await refusal({}, {}, { connections: [{ url: other, token: "x" }] })).toContain("has no binary cache of Nix for this job");
  });

  test("where there is no Nix", async () => {
    expect(await refusal({}, { PATH: "/nonexistent" })).toBe("there is no nix in PATH");
  });

  test("where nix.conf could not name the file", async () => {
    expect(await refusal({}, {}, { directory: "/tmp/a b" })).toBe("nix.conf can't name /tmp/a b");
  });
});

test("a list of keys can't become another setting", async () => {
  const hostile = await loopback.http((_, response) => void response.end("good-1:AAAA\nbad-1:AAAA post-build-hook = /tmp/x\nbad:AA\rsandbox = false\n#x:AA\n"));
  const { step, directory, read } = jobWith({});
  await setUpNix(step, { endpoint: daemon, direct: false, connections: [{ url: hostile.origin, token: "x" }], directory });
  expect(read("nix.conf")).toContain("extra-trusted-public-keys = good-1:AAAA\n");
});

test("the key of what pull requests pushed is this job's own affair, and not the machine's", async () => {
  const { origin } = await loopback.http(({ url: asked }, response) => void response.end(asked!.endsWith("/untrusted") ? "c-untrusted:BBBB\n" : "c-1:AAAA\n"));
  const own = jobWith({});
  await setUpNix(own.step, { endpoint: daemon, direct: false, connections: [{ url: origin, token: "x" }], directory: own.directory });
  expect(own.read("nix.conf")).toContain("extra-trusted-public-keys = c-1:AAAA c-untrusted:BBBB\n");
  const shared = multiUser();
  await setUpNix(shared.step, { endpoint: daemon, direct: false, connections: [{ url: origin, token: "x" }], directory: shared.directory });
  const [, included] = /^!include (\S+)$/m.exec(readFileSync(conf(), "utf8"))!;
  expect(readFileSync(included!, "utf8")).toContain("extra-trusted-public-keys = c-1:AAAA\n");
  await undoNix(shared.step, shared.directory);
});

describe("where nix-daemon does not trust the user, the machine's nix.conf", () => {
  const set = ({ step, directory }: ReturnType<typeof jobWith>) => setUpNix(step, { endpoint: daemon, direct: false, connections: connections(), directory });

  test("includes a file that every user can read and that holds no secret, and is as before afterwards", async () => {
    const job = multiUser();
    await set(job);
    const [, included] = /^trusted-users = nobody\nsandbox = false\n!include (\/tmp\/\S+)\n$/.exec(readFileSync(conf(), "utf8"))!;
    expect([statSync(included!).mode & 0o777, statSync(path.dirname(included!)).mode & 0o777]).toEqual([0o644, 0o755]);
    expect(readFileSync(included!, "utf8")).not.toContain("s3cret");
    expect(job.read("netrc")).toContain("password s3cret\n");
    expect(job.step.exported.size).toBe(0);
    await undoNix(job.step, job.directory);
    expect([readFileSync(conf(), "utf8"), existsSync(path.dirname(included!))]).toEqual([BEFORE, false]);
    expect(readFileSync(path.join(home, "restarts"), "utf8")).toBe("restart nix-daemon.service\n".repeat(2));
    await undoNix(job.step, job.directory);
    expect(readFileSync(conf(), "utf8")).toBe(BEFORE);
  });

  test("keeps what others have changed meanwhile", async () => {
    const job = multiUser();
    await set(job);
    writeFileSync(conf(), `first = 1\n${readFileSync(conf(), "utf8")}last = 1\n`);
    await undoNix(job.step, job.directory);
    expect(readFileSync(conf(), "utf8")).toBe(`first = 1\n${BEFORE}last = 1\n`);
  });

  test("is gone again where there was none", async () => {
    const job = multiUser();
    rmSync(conf());
    await set(job);
    expect(readFileSync(conf(), "utf8")).toMatch(/^!include \S+\n$/);
    await undoNix(job.step, job.directory);
    expect(existsSync(conf())).toBe(false);
  });

  test("stays as it is where the daemon can't be started again", async () => {
    const job = multiUser();
    script("systemctl", "echo no such unit >&2; exit 5");
    await expect(set(job)).rejects.toThrow(/nix-daemon does not trust this user.*no such unit.*trusted-users/);
    expect(readFileSync(conf(), "utf8")).toBe(BEFORE);
  });
});

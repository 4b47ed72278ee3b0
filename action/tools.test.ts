import { describe, expect, test } from "vitest";
import { ALL, READ } from "./event.ts";
import type { ToolName } from "./inputs.ts";
import { buildkit, chooseTools, type Surroundings } from "./tools.ts";

const around = (more: { env?: Record<string, string>; files?: string[]; programs?: string[] } = {}): Surroundings => ({
  env: more.env ?? {}, has: (name) => (more.files ?? []).includes(name), hasLike: (pattern) => (more.files ?? []).some((name) => pattern.test(name)), runs: (program) => (more.programs ?? []).includes(program),
  goHelper: ["/opt/node 24/node", "/opt/stowhouse/gocacheprog.mjs"],
});
const names = (wanted: Parameters<typeof chooseTools>[0], where: Surroundings) => chooseTools(wanted, where).tools.map(({ name }) => name);
const daemon = { url: "http://127.0.0.1:4711", token: "secret" };

describe("auto", () => {
  test("finds the tools a job uses", () => {
    expect(names("auto", around())).toEqual(["gha"]);
    expect(names("auto", around({ files: ["Dockerfile"], programs: ["sccache", "nip"] }))).toEqual(["gha", "sccache", "docker", "nip"]);
    expect(names("auto", around({ files: ["go.mod"] }))).toEqual(["gha", "go"]);
    expect(names("auto", around({ env: { RUSTC_WRAPPER: "/usr/bin/sccache" } }))).toEqual(["gha", "sccache"]);
    expect(names("auto", around({ files: ["shell.nix"], programs: ["nix"] }))).toEqual(["gha", "nix"]);
    expect([names("auto", around({ files: ["flake.nix"] })), names("auto", around({ programs: ["nix"] }))]).toEqual([["gha"], ["gha"]]);
  });

  test("a list is taken as it is", () => {
    expect([names(["nip"], around({ programs: ["sccache"] })), names([], around())]).toEqual([["nip"], []]);
  });
});

test("a tool its user has pointed elsewhere is left alone", () => {
  const { tools, left } = chooseTools(["sccache", "nip"], around({ env: { SCCACHE_BUCKET: "ours", NIP_REMOTE_CACHE_URL: "https://other", SCCACHE_REGION: "x" } }));
  expect(tools).toEqual([]);
  expect(left).toEqual([["sccache", "SCCACHE_BUCKET"], ["nip", "NIP_REMOTE_CACHE_URL"]]);
  expect(names(["sccache"], around({ env: { SCCACHE_BUCKET: "" } }))).toEqual(["sccache"]);
});

test("each tool gets its variables", () => {
  const env = (name: ToolName, rights = ALL) => chooseTools([name], around()).tools[0]!.env(daemon, rights, around());
  expect(env("gha")).toEqual({ ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `${daemon.url}/`, ACTIONS_CACHE_URL: `${daemon.url}/`, ACTIONS_RUNTIME_TOKEN: "secret", ACTIONS_CACHE_MODE: "write" });
  expect(env("sccache", READ)).toMatchObject({ SCCACHE_GHA_ENABLED: "on", SCCACHE_GHA_RW_MODE: "READ_ONLY", ACTIONS_CACHE_MODE: "read" });
  expect(env("sccache")).not.toHaveProperty("SCCACHE_GHA_RW_MODE");
  expect(env("docker")).toEqual({});
  expect(env("nip")).toEqual({ NIP_REMOTE_CACHE_URL: daemon.url, NIP_REMOTE_CACHE_API_KEY: "secret", NIP_REMOTE_CACHE_ENABLED: "true" });
});

test("Go gets its helper, quoted as go splits it, and golangci-lint entries of its own", () => {
  const tool = chooseTools(["go"], around()).tools[0]!;
  const command = '"/opt/node 24/node" /opt/stowhouse/gocacheprog.mjs';
  expect(tool.env(daemon, ALL, around())).toEqual({ GOCACHEPROG: command, GOLANGCI_LINT_CACHEPROG: `${command} --prefix golangci-lint`, STOWHOUSE_GO_SERVER: daemon.url, STOWHOUSE_GO_TOKEN: "secret" });
  expect(tool.env(daemon, READ, around())).toMatchObject({ STOWHOUSE_GO_READ_ONLY: "true" });
});

test("BuildKit gets attributes for the directions that are allowed", () => {
  const server = { url: "https://cache.example.com", token: "jwt" };
  const from = "type=gha,version=2,url_v2=https://cache.example.com/,token=jwt";
  expect(buildkit(server, ALL)).toEqual({ from, to: `${from},mode=max,ignore-error=true` });
  expect(buildkit(server, READ)).toEqual({ from, to: "" });
});

import { describe, expect, test } from "vitest";
import { ALL, READ } from "./event.ts";
import { buildkit, chooseTools, type Surroundings } from "./tools.ts";

const around = (more: { env?: Record<string, string>; files?: string[]; programs?: string[] } = {}): Surroundings => ({
  env: more.env ?? {}, has: (name) => (more.files ?? []).includes(name), runs: (program) => (more.programs ?? []).includes(program),
});
const names = (wanted: Parameters<typeof chooseTools>[0], where: Surroundings) => chooseTools(wanted, where).tools.map(({ name }) => name);
const daemon = { url: "http://127.0.0.1:4711", token: "secret" };

describe("auto", () => {
  test("finds the tools a job uses", () => {
    expect(names("auto", around())).toEqual(["gha"]);
    expect(names("auto", around({ files: ["Dockerfile"], programs: ["sccache", "nip"] }))).toEqual(["gha", "sccache", "docker", "nip"]);
    expect(names("auto", around({ env: { RUSTC_WRAPPER: "/usr/bin/sccache" } }))).toEqual(["gha", "sccache"]);
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
  const env = (name: "gha" | "sccache" | "docker" | "nip", rights = ALL) => chooseTools([name], around()).tools[0]!.env(daemon, rights);
  expect(env("gha")).toEqual({ ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `${daemon.url}/`, ACTIONS_CACHE_URL: `${daemon.url}/`, ACTIONS_RUNTIME_TOKEN: "secret", ACTIONS_CACHE_MODE: "write" });
  expect(env("sccache", READ)).toMatchObject({ SCCACHE_GHA_ENABLED: "on", SCCACHE_GHA_RW_MODE: "READ_ONLY", ACTIONS_CACHE_MODE: "read" });
  expect(env("sccache")).not.toHaveProperty("SCCACHE_GHA_RW_MODE");
  expect(env("docker")).toEqual({});
  expect(env("nip")).toEqual({ NIP_REMOTE_CACHE_URL: daemon.url, NIP_REMOTE_CACHE_API_KEY: "secret", NIP_REMOTE_CACHE_ENABLED: "true" });
});

test("BuildKit gets attributes for the directions that are allowed", () => {
  const server = { url: "https://cache.example.com", token: "jwt" };
  const from = "type=gha,version=2,url_v2=https://cache.example.com/,token=jwt";
  expect(buildkit(server, ALL)).toEqual({ from, to: `${from},mode=max,ignore-error=true` });
  expect(buildkit(server, READ)).toEqual({ from, to: "" });
});

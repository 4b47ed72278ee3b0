import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NipHome } from "../../../test/fixtures/nip-client.ts";
import { configure, type ConfigOptions } from "./configure.ts";
import { loadSettings } from "./settings.ts";

let home: NipHome;
beforeEach(() => void (home = new NipHome()));
afterEach(() => home.remove());

const load = (env: Record<string, string> = {}, options = {}) => loadSettings(options, home.io(env));
const servers = (env?: Record<string, string>, options?: object) => load(env, options).servers.map(({ url, token, priority }) => [url, token, priority]);

describe("settings", () => {
  it("default to the server on this machine and nip's own directory", () => {
    expect(load()).toEqual({
      enabled: true, timeout: 300_000, directory: home.directory, file: home.file,
      policies: { uploadOnBuild: true, downloadBeforeBuild: true, fallbackToLocal: true, retryAttempts: 3, retryDelay: 5 },
      servers: [{ url: "http://127.0.0.1:8420", token: undefined, priority: 0, enabled: true }],
    });
  });

  it("come from nip's file, which is off unless it says otherwise", () => {
    home.configure({ url: "https://a.example.com", apiKey: "key-a", timeout: 20, localDirectory: "/var/nip", policies: { retryAttempts: 0 } });
    expect(load()).toMatchObject({ enabled: false, timeout: 20_000, directory: "/var/nip", policies: { retryAttempts: 0, retryDelay: 5 }, servers: [{ url: "https://a.example.com", token: "key-a" }] });
    home.configure({ url: "https://a.example.com", enabled: true });
    expect(load().enabled).toBe(true);
  });

  it("know several servers, each with a priority and a key", () => {
    home.configure({ url: "https://a", apiKey: "key-a", servers: [{ url: "https://b", apiKey: "key-b" }, { url: "https://c", priority: -1 }] });
    expect(servers()).toEqual([["https://a", "key-a", 0], ["https://b", "key-b", 1], ["https://c", "key-a", -1]]);
  });

  it("are overridden by nip's variables", () => {
    home.configure({ url: "https://a", apiKey: "key-a", enabled: true });
    expect(servers({ NIP_REMOTE_CACHE_URL: "https://n", NIP_REMOTE_CACHE_API_KEY: "key-n" })).toEqual([["https://n", "key-n", 0]]);
    expect(servers({ NIP_REMOTE_CACHE_API_KEY: "key-n" })).toEqual([["https://a", "key-n", 0]]);
    for (const [value, enabled] of [["true", true], ["1", true], ["false", false], ["0", false]] as const) expect(load({ NIP_REMOTE_CACHE_ENABLED: value }).enabled).toBe(enabled);
    expect(load({ NIP_REMOTE_CACHE_URL: "https://n" }).enabled).toBe(true);
    home.configure({});
    expect(load({ NIP_REMOTE_CACHE_URL: "https://n" }).enabled).toBe(false);
  });

  it("are overridden by Stowhouse's variables, and these by flags", () => {
    const env = { NIP_REMOTE_CACHE_URL: "https://n", NIP_REMOTE_CACHE_API_KEY: "key-n", STOWHOUSE_SERVER: "https://s1, https://s2", STOWHOUSE_TOKEN: "token" };
    expect(servers(env)).toEqual([["https://s1", "token", 0], ["https://s2", "token", 1]]);
    expect(load({ STOWHOUSE_SERVER: "https://s" }).enabled).toBe(true);
    expect(load({ STOWHOUSE_SERVER: "https://s", NIP_REMOTE_CACHE_ENABLED: "false" }).enabled).toBe(false);
    expect(servers(env, { server: "https://f", token: "flag" })).toEqual([["https://f", "flag", 0]]);
    expect(load(env, { directory: "/elsewhere" }).directory).toBe("/elsewhere");
  });

  it("give a key of the file to no server the file doesn't know", () => {
    home.configure({ url: "https://a", apiKey: "key-a" });
    expect(servers({ STOWHOUSE_SERVER: "https://stranger,https://a/" })).toEqual([["https://stranger", undefined, 0], ["https://a/", "key-a", 1]]);
  });

  it("find the key a server on this machine was started with, and send it nowhere else", () => {
    mkdirSync(join(home.home, "data"));
    writeFileSync(join(home.home, "data", "keys.env"), "STOWHOUSE_ADMIN_KEY=stow_admin_x\nSTOWHOUSE_WRITE_KEY=stow_rw_x\n");
    expect(servers()).toEqual([["http://127.0.0.1:8420", "stow_rw_x", 0]]);
    expect(servers({ STOWHOUSE_SERVER: "https://cache.example.com" })).toEqual([["https://cache.example.com", undefined, 0]]);
  });

  it.each([
    ["{", "is not JSON"],
    ["[]", "expected an object"],
    ['{"url":"cache.example.com"}', "url: expected a URL"],
    ['{"url":"https://user:secret@host"}', "url: expected a URL"],
    ['{"timeout":"300"}', "timeout: expected a number"],
    ['{"enabled":"yes"}', "enabled: expected true or false"],
    ['{"servers":{}}', "servers: expected a list"],
    ['{"servers":[{"url":"https://a"},{"priority":1}]}', "servers: [1]: url: expected a URL"],
    ['{"policies":{"retryAttempts":-1}}', "policies: retryAttempts: expected a number"],
  ])("that can't be meant are refused with the field: %s", (text, message) => {
    home.configure(text);
    expect(() => load()).toThrow(message);
  });

  it("refuse a server that is none", () => {
    expect(() => load({ STOWHOUSE_SERVER: "https://a,,https://b" })).toThrow('server "": expected a URL');
    expect(() => load({ STOWHOUSE_SERVER: "ftp://a" })).toThrow("expected a URL");
  });
});

describe("config", () => {
  const run = async (options: ConfigOptions, stdin?: string) => {
    await configure(options, home.io({}, stdin));
    return JSON.parse(readFileSync(home.file, "utf8")) as unknown;
  };

  it("shows without writing, and never shows a key", async () => {
    home.configure({ url: "https://a", apiKey: "stow_rw_0123456789abcdef" });
    await configure({}, home.io());
    await configure({ json: true }, home.io());
    expect(home.out).toContain("https://a");
    expect(home.out).toContain("stow_rw_01…");
    expect(home.out).not.toContain("stow_rw_0123");
    expect(home.err).toBe("");
    home.remove();
    await configure({}, home.io());
    expect(existsSync(home.file)).toBe(false);
  });

  it("changes what is named, keeps the rest, and keeps it from others' eyes", async () => {
    home.configure({ url: "https://a", somethingOfNip: [1] });
    expect(await run({ apiKey: "key", enable: true, timeout: 60 })).toEqual({ url: "https://a", somethingOfNip: [1], apiKey: "key", timeout: 60, enabled: true });
    expect(statSync(home.file).mode & 0o777).toBe(0o600);
    expect(await run({ disable: true, url: "https://b" })).toMatchObject({ url: "https://b", enabled: false });
  });

  it("reads a key from standard input", async () => {
    expect(await run({ apiKey: "-" }, "stow_rw_secret\nnot this\n")).toEqual({ apiKey: "stow_rw_secret" });
    expect(await run({ apiKey: "-" }, "stow_rw_other")).toEqual({ apiKey: "stow_rw_other" });
  });

  it("adds, replaces and removes servers", async () => {
    await run({ addServer: "https://a" });
    expect(await run({ addServer: "https://b", priority: 5, apiKey: "key-b" })).toEqual({ servers: [{ url: "https://a", priority: 1 }, { url: "https://b", priority: 5, apiKey: "key-b" }] });
    expect(await run({ addServer: "https://a", priority: 9 })).toEqual({ servers: [{ url: "https://b", priority: 5, apiKey: "key-b" }, { url: "https://a", priority: 9 }] });
    expect(await run({ removeServer: "https://b" })).toEqual({ servers: [{ url: "https://a", priority: 9 }] });
    await expect(run({ removeServer: "https://b" })).rejects.toThrow("not among the servers");
  });

  it("sets policies", async () => {
    expect(await run({ policy: ["uploadOnBuild=false", "retryDelay=1"] })).toEqual({ policies: { uploadOnBuild: false, retryDelay: 1 } });
  });

  it.each<[ConfigOptions, string]>([
    [{ url: "no-url" }, "url: expected a URL"],
    [{ enable: true, disable: true }, "not both"],
    [{ policy: ["retries=1"] }, "the policies are"],
    [{ policy: ["retryAttempts=many"] }, "retryAttempts: expected a number"],
    [{ policy: ["retryAttempts=true"] }, "retryAttempts: expected a number"],
    [{ addServer: "" }, "url: expected a URL"],
  ])("refuses %j and leaves the file as it was", async (options, message) => {
    home.configure({ url: "https://a" });
    await expect(run(options)).rejects.toThrow(message);
    expect(JSON.parse(readFileSync(home.file, "utf8"))).toEqual({ url: "https://a" });
  });
});

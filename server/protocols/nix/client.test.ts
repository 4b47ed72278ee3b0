import { describe, expect, it } from "vitest";
import { client, netrcEntry, nixConf } from "./client.ts";

const hash = "g67ymbgjrixwch24001xyk1glc8hsbv5";
const nar = `nar/${"0".repeat(52)}.nar.xz`;

describe("without a server", () => {
  it.each([
    ["GET", "/nix-cache-info", 200],
    ["GET", "/nix/nix-cache-info", 200],
    ["GET", `/nix/team/${hash}.narinfo`, 404],
    ["HEAD", `/${hash}.narinfo`, 404],
    ["GET", `/nix/${nar}?x=1`, 404],
    ["GET", `/${hash}.ls`, 404],
    ["GET", `/log/${hash}-x.drv`, 404],
    ["GET", "/realisations/sha256:00!out.doi", 404],
    ["GET", `/build-trace-v2/${hash}-x.drv/out.doi`, 404],
    ["GET", "/nix/team/pubkey", 404],
    ["PUT", `/nix/team/${nar}`, 200],
    ["PUT", `/nix/team/${hash}.narinfo`, 200],
    ["DELETE", `/nix/team/${hash}.narinfo`, 404],
  ])("%s %s is answered so that the build goes on", (method, path, status) => {
    expect(client.serves(path.split("?")[0]!)).toBe(true);
    expect(client.failOpen(method, path).status).toBe(status);
  });

  it("is a cache that has nothing", () => {
    expect(client.failOpen("GET", "/nix/team/nix-cache-info").body).toBe("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n");
  });
});

it.each(["/", "/v1/artifacts/x", "/livez", "/go/cache/x", `/${hash}.narinfo/x`, `/e${hash.slice(1)}.narinfo`, "/nix/a/b/nix-cache-info", "/nix/Team/nix-cache-info"])("%s belongs to others", (path) => {
  expect(client.serves(path)).toBe(false);
});

describe("an answer of a server", () => {
  const request = (method: string, path: string) => ({ method, path, type: undefined });
  const via = (url: string) => url;

  it("is read for what it says", () => {
    expect(client.read(request("GET", `/${hash}.narinfo`), 200, Buffer.from("x"), via)).toEqual({ result: "hit" });
    expect(client.read(request("GET", `/${nar}`), 404, undefined, via)).toEqual({ result: "miss" });
    expect(client.read(request("PUT", `/${nar}`), 204, undefined, via)).toEqual({ result: "stored" });
    expect(client.read(request("PUT", `/${nar}`), 400, undefined, via)).toEqual({ result: "other" });
    expect(client.read(request("GET", `/${hash}.narinfo`), 503, undefined, via)).toBeUndefined();
    expect(client.read(request("GET", "/nix-cache-info"), 200, undefined, via)).toEqual({ result: "other" });
  });

  it("is wanted for", () => {
    expect([["GET", `/${hash}.narinfo`], ["GET", `/nix/team/${nar}`], ["GET", `/${hash}.ls`], ["PUT", `/${nar}`], ["GET", "/pubkey"], ["DELETE", `/${nar}`]].map(([method, path]) => client.purpose(request(method!, path!)))).toEqual([
      "lookup", "download", "download", "upload", "other", "other",
    ]);
  });
});

describe("Nix is told", () => {
  const endpoint = { url: "https://cache.example.com/nix/team/", token: "stow_ro_x" };

  it("where the cache is, beside those it knows", () => {
    expect(nixConf(endpoint, { publicKeys: ["team-1:AA==", "team-2:AA=="], netrcFile: "/run/netrc" })).toEqual([
      "extra-substituters = https://cache.example.com/nix/team", "extra-trusted-public-keys = team-1:AA== team-2:AA==", "netrc-file = /run/netrc", "fallback = true", "connect-timeout = 5", "download-attempts = 2",
    ]);
    expect(nixConf({ url: endpoint.url }, { publicKeys: [], netrcFile: "/run/netrc" }).join("\n")).not.toContain("netrc");
  });

  it("what to show there", () => {
    expect(netrcEntry(endpoint)).toBe("machine cache.example.com\nlogin stowhouse\npassword stow_ro_x\n");
    expect(netrcEntry({ url: endpoint.url })).toBeUndefined();
  });
});

import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultConfig } from "../../server/app.ts";
import { NixRig } from "./nix.ts";

const FOLDER = path.join(import.meta.dirname, "../..");

interface Evaluated {
  readonly systemd: {
    readonly tmpfiles: { readonly rules: readonly string[] };
    readonly services: { readonly stowhouse: { readonly path: readonly string[]; readonly serviceConfig: Record<string, unknown> & { readonly ExecStart: string } } };
  };
  readonly users: { readonly users: Record<string, object>; readonly groups: Record<string, object> };
  readonly networking: { readonly firewall: { readonly allowedTCPPorts: readonly number[] } };
}

let rig: NixRig;
beforeAll(() => {
  rig = new NixRig();
});
afterAll(() => rig.remove());

/** What the module makes of options, as Nix source. @throws with what Nix said */
async function evaluate(user: string): Promise<Evaluated> {
  const ran = await rig.run("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "--expr", `import ${FOLDER}/test/nix/module.nix { user = ${user}; }`);
  if (ran.code !== 0) throw new Error(ran.said);
  return JSON.parse(ran.said.split("\n").find((line) => line.startsWith("{"))!) as Evaluated;
}

/** The configuration the unit starts with, by the server's own check. */
function configOf(evaluated: Evaluated) {
  const [, file] = /^\/package\/bin\/stowhouse serve --config (\/nix\/store\/[^ ]+\.json)$/.exec(evaluated.systemd.services.stowhouse.serviceConfig.ExecStart) ?? [];
  return defaultConfig(JSON.parse(readFileSync(file!, "utf8")));
}

const FULL = `{
  enable = true;
  openFirewall = true;
  environmentFile = "/run/secrets/stowhouse";
  dataDir = "/srv/cache";
  user = "cache";
  group = "cache";
  settings = {
    listen = "0.0.0.0:443";
    url = "https://cache.example.com";
    storages = { default = { }; large.path = "/mnt/large"; };
    caches.default = { quota = "200GiB"; anonymousRead = true; };
    caches.team = { };
    protocols.nix.caches.team = { listen = "[::]:8081"; priority = 10; };
    protocols.nix.caches.default.upstreams.nixos = {
      url = "https://cache.nixos.org";
      trustedKeys = [ "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
    };
  };
}`;

describe("the NixOS module", () => {
  test("does nothing until it is enabled", async () => {
    expect(await evaluate("{ }")).toEqual({});
  });

  test("starts a server with its defaults, in its own directory, that nobody else reaches", async () => {
    const evaluated = await evaluate("{ enable = true; }");
    const config = configOf(evaluated);
    expect([config.data, config.listen]).toEqual(["/var/lib/stowhouse", { host: "127.0.0.1", port: 8420 }]);
    expect(evaluated.networking.firewall.allowedTCPPorts).toEqual([]);
    expect(evaluated.systemd.tmpfiles.rules).toEqual(["d '/var/lib/stowhouse' 0700 stowhouse stowhouse - -"]);
    expect([Object.keys(evaluated.users.users), Object.keys(evaluated.users.groups)]).toEqual([["stowhouse"], ["stowhouse"]]);
  });

  test("hands settings on as the server takes them", async () => {
    const evaluated = await evaluate(FULL);
    const config = configOf(evaluated);
    expect(config).toMatchObject({ data: "/srv/cache", url: "https://cache.example.com", listen: { host: "0.0.0.0", port: 443 }, caches: { default: { quota: 200 * 2 ** 30, anonymousRead: true } } });
    expect(config.protocols["nix"]).toMatchObject({ caches: { team: { listen: { host: "::", port: 8081 }, priority: 10 }, default: { upstreams: { nixos: { url: "https://cache.nixos.org" } } } } });
    expect(evaluated.networking.firewall.allowedTCPPorts).toEqual([443, 8081]);
    expect(evaluated.users).toEqual({ users: {}, groups: {} });
  });

  test("lets the unit write nowhere but to its data, and gives it no rights but the one for a low port", async () => {
    const { serviceConfig } = (await evaluate("{ enable = true; }")).systemd.services.stowhouse;
    expect(serviceConfig).toMatchObject({
      User: "stowhouse", ProtectSystem: "strict", ProtectHome: true, NoNewPrivileges: true, PrivateTmp: true, PrivateDevices: true, ReadWritePaths: ["/var/lib/stowhouse"], CapabilityBoundingSet: [""], AmbientCapabilities: [],
    });
    expect(serviceConfig).not.toHaveProperty("EnvironmentFile");
    const full = (await evaluate(FULL)).systemd.services.stowhouse;
    expect(full.serviceConfig).toMatchObject({ EnvironmentFile: "/run/secrets/stowhouse", User: "cache", ReadWritePaths: ["/srv/cache", "/mnt/large"], AmbientCapabilities: ["CAP_NET_BIND_SERVICE"] });
    expect(full.path).toEqual(["/xz", "/bzip2"]);
  });

  test.each([
    ["{ enabel = true; }", "there is no option services.stowhouse.enabel"],
    ["{ enable = 1; }", "services.stowhouse.enable: expected true or false"],
    ['{ enable = true; dataDir = "data"; }', "services.stowhouse.dataDir: expected an absolute path"],
    ["{ enable = true; settings.listen = x: x; }", "services.stowhouse.settings: expected what JSON can hold"],
  ])("refuses %s", async (user, message) => {
    await expect(evaluate(user)).rejects.toThrow(message);
  });
});

test("the package and the flake are Nix", async () => {
  for (const file of ["nix/package.nix", "flake.nix"]) expect(await rig.run("nix-instantiate", "--parse", path.join(FOLDER, file))).toMatchObject({ code: 0 });
});

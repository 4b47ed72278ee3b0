import { readFileSync } from "node:fs";
import Type from "typebox";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfig, resolveConfig } from "../config.ts";
import { ConfigSchema } from "./schema.ts";
import { documentedFields } from "./table.ts";

const protocols = { nip: Type.Object({}), githubActions: Type.Object({}) };
const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

describe("config.sample.yaml", () => {
  const sample = read("server/config.sample.yaml");
  const load = (text: string) => loadConfig({ file: "sample.yaml", env: {}, readFile: () => text, protocols });

  test("says the defaults", () => {
    expect(load(sample)).toEqual(resolveConfig({}, { protocols }));
  });

  test("shows every field", () => {
    const names = documentedFields(ConfigSchema).map(({ path }) => path.split(".").at(-1)!.replace("[]", ""));
    expect(names.filter((name) => !new RegExp(`^[ #]*(- )?${name}:`, "m").test(sample))).toEqual([]);
  });

  test("comments out what would be right, but for what excludes each other", () => {
    const given = sample.replace("    rules: []\n", "").replace(/^( *)# ( *(?:- )?[\w-]+:(?: .*)?)$/gm, "$1$2");
    const lines = (() => {
      try {
        load(given);
        return [];
      } catch (error) {
        return (error as Error).message.split("\n  ").slice(1);
      }
    })();
    expect(lines).toEqual(["database.url: needs type postgres", "storages.bucket.s3.credentialsEndpoint: is of no use beside accessKeyId"]);
  });
});

describe("compose.yaml", () => {
  const compose = parse(read("compose.yaml"));
  const { environment } = compose.services.stowhouse as { environment: Record<string, string> };
  const secrets: Record<string, string> = {
    "admin-key": "stow_admin_example", "write-key": "stow_rw_example", "read-key": "stow_ro_example", "database-url": "postgres://stowhouse:pw@postgres:5432/stowhouse",
  };

  test("starts a server on PostgreSQL and S3", () => {
    const config = loadConfig({
      env: environment,
      readFile: (path) => (path === environment["STOWHOUSE_CONFIG"] ? compose.configs.stowhouse.content : secrets[path.replace("/run/secrets/", "")]!),
      protocols,
    });
    expect(config.listen).toEqual({ host: "0.0.0.0", port: 8420 });
    expect(config.database).toMatchObject({ type: "postgres", url: secrets["database-url"] });
    expect(config.storages["default"]).toMatchObject({ type: "s3", redirect: false, s3: { bucket: "stowhouse", pathStyle: true } });
    expect(config.auth.adminKey).toBe("stow_admin_example");
  });

  test("keeps what it stores in named volumes, and checks every service's health", () => {
    for (const service of Object.values(compose.services) as { healthcheck?: { test?: unknown }; volumes?: string[]; restart?: string }[]) {
      expect(service.healthcheck?.test).toBeDefined();
      for (const volume of service.volumes ?? []) expect(Object.keys(compose.volumes)).toContain(volume.split(":")[0]);
    }
  });

  test("declares every secret that a service uses, as a file", () => {
    for (const service of Object.values(compose.services) as { secrets?: string[] }[]) {
      for (const name of service.secrets ?? []) expect(compose.secrets[name]?.file).toBe(`./data/secrets/${name}`);
    }
  });
});

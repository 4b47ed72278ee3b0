import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

const imports = (...specifiers: string[]) => specifiers.map((name) => `import "${name}";\n`).join("");

type Files = Record<string, string>;

const UP: Files = {
  "server/app.ts": imports("./cli.ts"),
  "server/protocols/go/index.ts": imports("../../app.ts"),
  "server/protocols/go/routes.ts": imports("../../admin/keys.ts"),
  "server/protocols/go/driver.ts": imports("../../storage/filesystem.ts"),
  "server/protocols/go/wire.ts": imports("../../http/send.ts"),
  "server/admin/keys.ts": imports("../protocols/go/index.ts"),
  "server/http/send.ts": imports("../protocols/go/index.ts"),
  "server/storage/settings.ts": imports("../config/schema.ts"),
  "server/config/schema.ts": imports("../protocols/index.ts"),
  "server/http/settings.ts": imports("../config.ts"),
  "server/http/driver.ts": imports("../database/sqlite.ts"),
  "server/identity/keys.ts": imports("../http/auth.ts"),
  "server/identity/reply.ts": imports("fastify"),
  "server/core/catalog.ts": imports("../identity/keys.ts"),
  "server/core/bodies.ts": imports("../storage/s3.ts"),
  "server/core/index.ts": imports("../database/postgres.ts"),
  "server/core/serve.ts": imports("node:http"),
  "server/core/entry.ts": imports("./catalog.ts"),
  "server/core/lazy.ts": `export const later = () => import("../http/send.ts");\n`,
  "server/core/types.ts": `export type { Context } from "../http/context.ts";\n`,
  "server/core/sdk.ts": imports("@aws-sdk/client-s3"),
  "server/core/sql.ts": imports("postgres"),
  "server/storage/filesystem.ts": imports("../core/catalog.ts"),
  "server/storage/s3.ts": imports("../database/database.ts"),
  "server/database/sqlite.ts": imports("../storage/store.ts"),
  "server/database/operations.ts": imports("./sqlite.ts"),
  "server/protocols/go/client.ts": imports("../../core/catalog.ts"),
  "server/cli.ts": imports("../action/main.ts"),
  "server/http/daemon.ts": imports("../../action/client/servers.ts"),
  "action/main.ts": imports("../server/core/entry.ts"),
  "action/client/servers.ts": imports("../../server/protocols/go/index.ts"),
  "operator/main.ts": imports("../server/app.ts"),
  "operator/errors.ts": imports("../server/core/errors.ts"),
  "server/cluster.ts": imports("../operator/kube.ts"),
  "action/post.ts": imports("../operator/kube.ts"),
  "server/attic/index.ts": imports("node:path"),
};

const DOWN: Files = {
  "server/main.ts": imports("./cli.ts", "./app.ts"),
  "server/serve.ts": imports("./app.ts", "./config.ts"),
  "server/app/drivers.ts": imports("../storage/s3.ts", "../database/sqlite.ts", "../protocols/index.ts", "../config.ts"),
  "server/protocols/nip/index.ts": imports("./wire.ts", "../../http/send.ts", "../../core/catalog.ts", "../../database/database.ts"),
  "server/core/quota.ts": imports("./entry.ts", "../storage/store.ts", "../database/operations/blobs.ts"),
  "server/core/quota.test.ts": imports("../app.ts", "../database/sqlite.ts"),
  "server/storage/s3/client.ts": imports("../store.ts", "./options.ts", "../../core/errors.ts", "@aws-sdk/client-s3"),
  "server/cli/push.ts": imports("../../action/client/servers.ts", "../app.ts"),
  "server/storage/s3/options.ts": imports("../../config/fields.ts"),
  "server/config/storages.ts": imports("./fields.ts", "../storage/s3/options.ts"),
  "operator/cacheserver/schema.ts": imports("../../server/config.ts", "../../server/config/fields.ts", "../object.ts"),
  "operator/kube.test.ts": imports("../test/fixtures/server.ts"),
  "action/daemon/proxy.ts": imports("../client/servers.ts", "../../server/protocols/go/client.ts"),
  "test/fixtures/server.ts": imports("../../server/app.ts", "../../server/storage/filesystem.ts"),
};

const OTHER: Files = {
  "server/http/floating.ts": "async function later() {}\nlater();\n",
  "server/http/misused.ts": "const later = async () => {};\n[1].forEach(later);\nif (later()) process.exitCode = 1;\n",
  "server/http/environment.ts": "export const home = process.env;\n",
  "server/http/arguments.ts": "export const first = process.argv;\n",
  "server/http/imported.ts": `import { env } from "node:process";\nexport const home = env;\n`,
  "server/cli/arguments.ts": "export const first = process.argv;\n",
  "server/core/circle.ts": `import { b } from "./other.ts";\nexport const a = () => b;\n`,
  "server/core/other.ts": `import { a } from "./circle.ts";\nexport const b = () => a;\n`,
  "server/core/long.ts": "export {};\n".repeat(501),
};

/** The rules that a file of this imagined repository breaks. */
let broken: (file: string) => string[];
let house: string;

beforeAll(async () => {
  house = await mkdtemp(path.join(tmpdir(), "stowhouse-lint-"));
  for (const name of [".oxlintrc.json", ".oxlint", "tsconfig.json"]) await cp(path.join(root, name), path.join(house, name), { recursive: true });
  await symlink(path.join(root, "node_modules"), path.join(house, "node_modules"));
  for (const [name, text] of Object.entries({ ...UP, ...DOWN, ...OTHER })) {
    await mkdir(path.dirname(path.join(house, name)), { recursive: true });
    await writeFile(path.join(house, name), text);
  }
  const oxlint = path.join(root, "node_modules/.bin/oxlint");
  // It exits with 1 because it finds what it should find.
  const { stdout } = await run(oxlint, ["--type-aware", "--format", "json", "server", "action", "operator", "test"], { cwd: house, maxBuffer: 16 << 20, timeout: 60_000 }).catch((error: { stdout: string }) => error);
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
  broken = (file) => diagnostics.filter((one) => one.filename === file).map((one) => one.code);
});

afterAll(() => rm(house, { recursive: true, force: true }));

describe("arrows run down only", () => {
  test.each(Object.keys(UP))("%s", (file) => expect(broken(file)).toEqual(["house(arrows)"]));
});

describe("an arrow down is fine", () => {
  test.each(Object.keys(DOWN))("%s", (file) => expect(broken(file)).toEqual([]));
});

describe("the linter refuses", () => {
  test.each([
    ["a floating promise", "server/http/floating.ts", "typescript(no-floating-promises)"],
    ["a misused promise", "server/http/misused.ts", "typescript(no-misused-promises)"],
    ["the environment below main and cli", "server/http/environment.ts", "node(no-process-env)"],
    ["the arguments below main and cli", "server/http/arguments.ts", "eslint(no-restricted-properties)"],
    ["an imported environment", "server/http/imported.ts", "eslint(no-restricted-imports)"],
    ["the arguments in a command's own file", "server/cli/arguments.ts", "eslint(no-restricted-properties)"],
    ["a circle", "server/core/circle.ts", "import(no-cycle)"],
    ["a file of more than 500 lines", "server/core/long.ts", "eslint(max-lines)"],
  ])("%s", (_fact, file, rule) => expect(broken(file)).toContain(rule));
});

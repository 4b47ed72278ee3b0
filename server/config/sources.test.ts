import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../config.ts";
import { StowError } from "../core/errors.ts";
import { parseFile } from "./sources.ts";

const SECRET = "hunter2hunter2hunter2";

function load(sources: { file?: string; env?: Record<string, string>; flags?: Record<string, string>; files?: Record<string, string> }) {
  const readFile = (path: string) => {
    const text = sources.files?.[path];
    if (text === undefined) throw Object.assign(new Error(`no ${path}`), { code: "ENOENT" });
    return text;
  };
  return loadConfig({ file: sources.file, env: sources.env ?? {}, flags: sources.flags ?? {}, readFile });
}

test.each([
  ["c.yaml", "listen: 127.0.0.1:1\ncaches:\n  a: {quota: 1GiB}\n"],
  ["c.yml", "listen: 127.0.0.1:1\ncaches:\n  a:\n    quota: 1073741824 # bytes\n"],
  ["c.json", '{"listen": "127.0.0.1:1", "caches": {"a": {"quota": "1GiB"}}}'],
  ["c.TOML", 'listen = "127.0.0.1:1"\n[caches.a]\nquota = "1GiB"\n'],
])("%s is read by its extension", (file, text) => {
  const config = load({ file, files: { [file]: text } });
  expect(config.listen.port).toBe(1);
  expect(config.caches["a"]?.quota).toBe(2 ** 30);
});

describe("later sources win", () => {
  const files = { "c.yaml": "listen: 127.0.0.1:1\nlog: {level: warn, access: false}\n", "other.yaml": "listen: 127.0.0.1:9", key: `${SECRET}\n` };

  test("environment over file over defaults", () => {
    const config = load({ file: "c.yaml", files, env: { STOWHOUSE_LISTEN: "127.0.0.1:2" } });
    expect(config.listen.port).toBe(2);
    expect(config.log).toEqual({ level: "warn", access: false });
  });

  test("flags over environment", () => {
    const config = load({ file: "c.yaml", files, env: { STOWHOUSE_LISTEN: "127.0.0.1:2" }, flags: { listen: "127.0.0.1:3", logLevel: "error" } });
    expect(config.listen.port).toBe(3);
    expect(config.log.level).toBe("error");
  });

  test("STOWHOUSE_CONFIG names the file unless --config does", () => {
    expect(load({ files, env: { STOWHOUSE_CONFIG: "c.yaml" } }).listen.port).toBe(1);
    expect(load({ file: "other.yaml", files, env: { STOWHOUSE_CONFIG: "c.yaml" } }).listen.port).toBe(9);
  });

  test("every variable sets its field, directly or through a file", () => {
    const env = {
      STOWHOUSE_DATA: "/d", STOWHOUSE_URL: "https://c.example.com", STOWHOUSE_ADMIN_KEY: "a".repeat(20), STOWHOUSE_WRITE_KEY_FILE: "key",
      STOWHOUSE_READ_KEY: "r".repeat(20), STOWHOUSE_DATABASE_URL: "postgres://h/d", STOWHOUSE_LOG_LEVEL: "debug",
    };
    const config = load({ files, env });
    expect(config).toMatchObject({ data: "/d", url: "https://c.example.com", database: { type: "postgres", url: "postgres://h/d" }, log: { level: "debug" } });
    expect(config.auth).toMatchObject({ adminKey: "a".repeat(20), writeKey: SECRET, readKey: "r".repeat(20) });
  });

  test("empty variables count as absent", () => {
    expect(load({ env: { STOWHOUSE_URL: "", STOWHOUSE_CONFIG: "", STOWHOUSE_ADMIN_KEY_FILE: "" } })).toEqual(load({}));
  });
});

describe("refusals name their source", () => {
  const message = (sources: Parameters<typeof load>[0]): string => {
    try {
      load(sources);
    } catch (error) {
      expect((error as StowError).code).toBe("STOW_CONFIG");
      return (error as Error).message;
    }
    throw new Error("was accepted");
  };

  test("a variable or a flag", () => {
    expect(message({ env: { STOWHOUSE_LISTEN: "nowhere" } })).toContain('listen (STOWHOUSE_LISTEN): expected host:port');
    expect(message({ flags: { logLevel: "loud" } })).toContain("log.level (--log-level): expected one of");
  });

  test("a variable does not hide that its section is wrong", () => {
    const files = { "c.yaml": "auth: none" };
    expect(message({ file: "c.yaml", files, env: { STOWHOUSE_ADMIN_KEY: SECRET } })).toContain("auth: expected an object");
  });

  test("a file that is not there, too large, or of no known kind", () => {
    expect(message({ file: "gone.yaml" })).toContain("the file gone.yaml can't be read (ENOENT)");
    expect(message({ env: { STOWHOUSE_READ_KEY_FILE: "gone" } })).toContain("the file gone (STOWHOUSE_READ_KEY_FILE) can't be read (ENOENT)");
    expect(message({ file: "c.yaml", files: { "c.yaml": "#".repeat(2 ** 20 + 1) } })).toContain("larger than 1MiB");
    expect(message({ file: "c.ini", files: { "c.ini": "" } })).toContain("expected .yaml, .yml, .json or .toml");
  });

  test("a secret given twice, or by an empty file", () => {
    const files = { empty: "\n", key: SECRET };
    expect(message({ files, env: { STOWHOUSE_READ_KEY: SECRET, STOWHOUSE_READ_KEY_FILE: "key" } })).toContain("are both set; keep one");
    expect(message({ files, env: { STOWHOUSE_READ_KEY_FILE: "empty" } })).toContain("STOWHOUSE_READ_KEY_FILE names an empty file");
  });
});

describe("a broken file is refused with the place, without its contents", () => {
  test.each([
    ["c.yaml", `auth:\n  adminKey: ${SECRET}\n bad: ${SECRET}`, "not valid YAML at line 3"],
    ["c.yaml", `auth: {adminKey: "${SECRET}`, "not valid YAML at line 1"],
    ["c.yaml", `a: *${SECRET}`, "not valid YAML"],
    ["c.yaml", `${SECRET}: 1\n${SECRET}: 2`, "not valid YAML at line 2, column 1 (duplicate key)"],
    ["c.json", `{"adminKey":\n "${SECRET}" oops}`, "not valid JSON at line 2"],
    ["c.json", `{"a": ${SECRET}}`, "not valid JSON"],
    ["c.toml", `adminKey = "x"\nb = ${SECRET}`, "not valid TOML at line 2"],
  ])("%s: %j", (file, text, expected) => {
    try {
      parseFile(file, text);
      throw new Error("was accepted");
    } catch (error) {
      expect((error as Error).message).toContain(expected);
      expect((error as Error).message).not.toContain(SECRET);
    }
  });

  test("aliases that multiply are refused", () => {
    const bomb = ["a: &a [1,1,1,1,1,1,1,1,1]"];
    for (const [name, before] of ["ba", "cb", "dc", "ed", "fe"]) bomb.push(`${name}: &${name} [${Array(9).fill(`*${before}`).join()}]`);
    expect(() => parseFile("c.yaml", bomb.join("\n"))).toThrow(/more than 100/);
  });

  test("no text makes a parser fail otherwise", () => {
    const text = fc.oneof(fc.string(), fc.json(), fc.stringMatching(/^([a-z&*!%@\-?:{}[\]#|>"' \n\t=.0-9]){0,60}$/));
    fc.assert(
      fc.property(fc.constantFrom("c.yaml", "c.json", "c.toml"), text, (file, content) => {
        try {
          loadConfig({ file, env: {}, readFile: () => content });
        } catch (error) {
          return error instanceof StowError && error.code === "STOW_CONFIG";
        }
        return true;
      }),
      { numRuns: 500 },
    );
  });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fillIn, type Words } from "./label.ts";
import { help, readSettings, SPECS } from "./settings.ts";

describe("settings", () => {
  it("are flags before variables before defaults, our own variables before cacheprog's", () => {
    const env = { STOWHOUSE_GO_DRAIN: "3s", CACHEPROG_MAX_BACKGROUND_WAIT: "9s", CACHEPROG_REMOTE_GET_TIMEOUT: "700ms", CACHEPROG_DISABLE_PUT: "true" };
    expect(readSettings(["--uploads", "7"], env).settings).toMatchObject({ drain: 3000, getTimeout: 700, disablePut: true, uploads: 7, maxSize: 10 * 2 ** 30, readOnly: false });
    expect(readSettings(["--drain=1m"], env).settings).toMatchObject({ drain: 60_000 });
  });

  it("take pairs in both of cacheprog's forms", () => {
    expect(readSettings([], { CACHEPROG_METRICS_PUSH_EXTRA_LABELS: "a=b, c=d", CACHEPROG_METRICS_PUSH_EXTRA_HEADERS: "Authorization:Bearer x=y" }).settings).toMatchObject({
      pushLabels: { a: "b", c: "d" }, pushHeaders: { Authorization: "Bearer x=y" },
    });
  });

  it.each([
    [["--drain", "soon"], {}, "--drain"],
    [[], { STOWHOUSE_GO_MAX_SIZE: "much" }, "STOWHOUSE_GO_MAX_SIZE"],
    [["--unknown"], {}, "--unknown"],
    [["--uploads", "0"], {}, "--uploads"],
    [["word"], {}, "word"],
  ])("that are wrong are named, and the others hold: %j %j", (args, env, name) => {
    const { settings, problems } = readSettings([...args, "--dir", "/store"], { ...env, STOWHOUSE_SERVER: "http://cache" });
    expect(problems).toEqual([expect.stringContaining(name)]);
    expect(settings).toMatchObject({ directory: "/store", server: "http://cache", drain: 10_000, uploads: 4 });
  });

  it("are in README.md as they are here", () => {
    const readme = readFileSync(new URL("README.md", import.meta.url), "utf8");
    const rows = Object.values(SPECS).map(({ flag, env, kind, default: standard, help }) => `| \`--${flag}\` | ${env.map((name) => `\`${name}\``).join(", ")} | ${kind === "flag" || standard === "" ? "" : `\`${standard}\``} | ${help} |\n`);
    expect(readme).toContain(rows.join(""));
  });

  it("are all in the help", () => {
    for (const { flag, env } of Object.values(SPECS)) for (const name of [`--${flag}`, env[0]]) expect(help()).toContain(name);
  });
});

describe("templates", () => {
  const words: Words = { env: { PROJECT: "shop" }, platform: "linux", arch: "x64", command: ["/usr/local/go/bin/go", "-C", "/src", "test", "./..."], version: "go1.26.1" };

  it("know the platform by Go's names, the go command and its version", () => {
    expect(fillIn("{command}/{GOOS}-{GOARCH}/{GOVERSION}/{env.PROJECT}", words)).toBe("test/linux-amd64/go1.26.1/shop");
  });

  it("follow GOOS and GOARCH, so that cross builds are apart", () => {
    expect(fillIn("{% GOOS %}-{% GOARCH %}", { ...words, env: { GOOS: "windows", GOARCH: "arm64" } })).toBe("windows-arm64");
  });

  it("take other tools by their names, and go where nobody can tell", () => {
    expect(fillIn("{command}", { ...words, command: ["golangci-lint", "run"] })).toBe("golangci-lint");
    expect(fillIn("{command}", { ...words, command: [] })).toBe("go");
  });

  it("say what they don't know", () => {
    expect(() => fillIn("{GOVERSOIN}", words)).toThrow("GOVERSOIN");
  });
});

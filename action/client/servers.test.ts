import type { RequestListener } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { Servers, type Problem, type Server, type ServerSettings } from "./servers.ts";

const PATIENCE = { connect: 300, answer: 300, stall: 300 };
const loopback = new Loopback();
afterEach(() => loopback.close());

const says = (text: string): RequestListener => (_, response) => void response.end(text);
const list = (...urls: readonly URL[]) => urls.map((url, priority): ServerSettings => ({ url: url.href, priority, enabled: true }));

/** Gets `/x` from the first server that says something but "miss". */
async function ask(servers: Servers) {
  const problems: Problem[] = [];
  const started = performance.now();
  const found = await servers.first(
    async (server) => {
      const answer = await server.request("/x", { patience: PATIENCE });
      const text = await answer.text();
      if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
      return text === "miss" ? undefined : text;
    },
    (problem) => problems.push(problem),
  );
  return { text: found?.value, from: found?.server, problems: problems.map(({ kind, message }) => [kind, message]), ms: performance.now() - started };
}

describe("several servers", () => {
  it("are asked by priority, and those switched off never", async () => {
    const [first, second, off] = [await loopback.http(says("first")), await loopback.http(says("second")), await loopback.http(says("off"))];
    const servers = new Servers([
      { url: second.href, priority: 2, enabled: true },
      { url: off.href, priority: 0, enabled: false },
      { url: first.href, priority: 1, enabled: true },
    ]);
    expect(servers.all.map(({ url }) => `${url}/`)).toEqual([first.href, second.href]);
    expect(await ask(servers)).toMatchObject({ text: "first", problems: [] });
  });

  it("are asked on after a miss", async () => {
    const servers = new Servers(list(await loopback.http(says("miss")), await loopback.http(says("found"))));
    expect(await ask(servers)).toMatchObject({ text: "found", from: servers.all[1], problems: [] });
    expect(await ask(new Servers(list(await loopback.http(says("miss")))))).toMatchObject({ text: undefined, problems: [] });
  });

  it("step in for one that is dead, which then costs nothing for a while", async () => {
    const servers = new Servers(list(await loopback.dead(), await loopback.http(says("found"))));
    expect(await ask(servers)).toMatchObject({ text: "found", problems: [["dead", "connection refused"]] });
    expect(await ask(servers)).toMatchObject({ text: "found", problems: [["resting", "it failed a moment ago and is left alone for a while"]] });
  });

  it("step in for one that hangs, which costs the patience once", async () => {
    const servers = new Servers(list(await loopback.hanging(), await loopback.http(says("found"))));
    const first = await ask(servers);
    expect(first).toMatchObject({ text: "found", problems: [["dead", "no answer within 300 ms"]] });
    expect(first.ms).toBeGreaterThan(290);
    expect((await ask(servers)).ms).toBeLessThan(250);
  });

  it("step in for one that fails, which is asked again until it has failed three times", async () => {
    let requests = 0;
    const sick = await loopback.http((_, response) => {
      requests++;
      response.writeHead(500).end("sick");
    });
    const servers = new Servers(list(sick, await loopback.http(says("found"))));
    for (let i = 0; i < 5; i++) expect((await ask(servers)).text).toBe("found");
    expect(requests).toBe(3);
  });

  it("that fail now and then are asked on", async () => {
    let requests = 0;
    const shaky = await loopback.http((_, response) => {
      if (++requests % 3 === 0) response.end("found");
      else response.writeHead(503).end();
    });
    const servers = new Servers(list(shaky));
    for (let i = 0; i < 9; i++) await ask(servers);
    expect(requests).toBe(9);
  });

  it("that refuse are not dead", async () => {
    const servers = new Servers(list(await loopback.http((_, response) => void response.writeHead(403).end("forbidden"))));
    for (let i = 0; i < 5; i++) expect(await ask(servers)).toMatchObject({ text: undefined, problems: [["refused", "403 forbidden"]] });
  });

  it("that are none have nothing", async () => {
    expect(await ask(new Servers([]))).toMatchObject({ text: undefined, problems: [] });
  });
});

describe("a server", () => {
  const echo: RequestListener = (request, response) => void response.end(`${request.url} ${request.headers.authorization ?? "nobody"}`);
  const text = async (server: Server, target: string | URL) => (await server.request(target, { patience: PATIENCE })).text();

  it("gets paths below its URL, and its token", async () => {
    const url = await loopback.http(echo);
    const [server] = new Servers([{ url: `${url.href}c/team/`, token: "secret", priority: 0, enabled: true }]).all;
    expect(await text(server!, "/v1/health")).toBe("/c/team/v1/health Bearer secret");
    expect(await text(server!, new URL("/elsewhere?a=1", url))).toBe("/elsewhere?a=1 Bearer secret");
  });

  it("does not show its token to another", async () => {
    const other = await loopback.http(echo);
    const [server] = new Servers([{ url: (await loopback.http(echo)).href, token: "secret", priority: 0, enabled: true }]).all;
    expect(await text(server!, new URL("/download", other))).toBe("/download nobody");
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AdminClient } from "./admin-client.ts";
import type { Io } from "./io.ts";

let dir: string;
let server: Server;
let url: string;
let requests: IncomingMessage[];
let answer: RequestListener;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "stowhouse-cli-"));
  requests = [];
  answer = (_, response) => response.setHeader("content-type", "application/json").end('{"ok":true}');
  server = createServer((request, response) => {
    requests.push(request);
    if (request.url === "/livez") response.end("{}");
    else answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  server.close();
  server.closeAllConnections();
  rmSync(dir, { recursive: true });
});

function io(env: Record<string, string> = {}): Io {
  return { env, stdout: { write: () => true }, stderr: { write: () => true } };
}

function keysFile(text = "STOWHOUSE_ADMIN_KEY=stow_admin_local\nSTOWHOUSE_WRITE_KEY=stow_rw_local\n"): void {
  writeFileSync(join(dir, "keys.env"), text);
}

const sent = () => requests.at(-1)!.headers.authorization;

describe("the credential", () => {
  test("is the one given, before the one of the environment, before the one of this machine's server", async () => {
    keysFile();
    await new AdminClient({ server: url, data: dir, token: "given" }, io({ STOWHOUSE_TOKEN: "env" })).get("/keys");
    expect(sent()).toBe("Bearer given");
    await new AdminClient({ server: url, data: dir }, io({ STOWHOUSE_TOKEN: "env" })).get("/keys");
    expect(sent()).toBe("Bearer env");
    await new AdminClient({ server: url }, io({ STOWHOUSE_DATA: dir })).get("/keys");
    expect(sent()).toBe("Bearer stow_admin_local");
  });

  test("is the server's configured one where that is known", async () => {
    keysFile();
    await new AdminClient({ server: url, data: dir }, io({ STOWHOUSE_ADMIN_KEY: "configured" })).get("/keys");
    expect(sent()).toBe("Bearer configured");
    writeFileSync(join(dir, "secret"), "from-file\n");
    await new AdminClient({ server: url, data: dir }, io({ STOWHOUSE_ADMIN_KEY_FILE: join(dir, "secret") })).get("/keys");
    expect(sent()).toBe("Bearer from-file");
  });

  test("is none where none is known", async () => {
    await new AdminClient({ server: url, data: dir }, io()).get("/keys");
    expect(sent()).toBeUndefined();
  });

  test("of this machine's server is never sent to another machine", async () => {
    keysFile();
    const original = globalThis.fetch;
    const seen: (string | null)[] = [];
    globalThis.fetch = async (_, init) => {
      seen.push(new Headers(init?.headers).get("authorization"));
      return new Response("{}");
    };
    try {
      await new AdminClient({ server: "https://cache.example.com", data: dir }, io({ STOWHOUSE_ADMIN_KEY: "configured" })).get("/keys");
    } finally {
      globalThis.fetch = original;
    }
    expect(seen).toEqual([null, null]);
  });
});

describe("the server", () => {
  test("is the first of several", async () => {
    await new AdminClient({}, io({ STOWHOUSE_SERVER: `${url}/ , http://127.0.0.1:1` })).get("/keys", { limit: 5, after: undefined });
    expect(requests.at(-1)!.url).toBe("/v1/admin/keys?limit=5");
  });

  test.each(["", "cache.example.com", "ftp://cache.example.com", "127.0.0.1:8420"])("is not %o", (wrong) => {
    expect(() => new AdminClient({ server: wrong }, io())).toThrow("no server");
  });

  test("that is away is told, with the command that starts one", async () => {
    const gone = url;
    server.close();
    await expect(new AdminClient({ server: gone }, io()).get("/keys")).rejects.toMatchObject({ code: "STOW_UNREACHABLE", message: expect.stringMatching(/ECONNREFUSED.*stowhouse serve/) });
  });

  test("that takes connections and never answers is given two seconds", async () => {
    server.removeAllListeners("request");
    const started = performance.now();
    await expect(new AdminClient({ server: url }, io()).post("/gc", {}, 100_000)).rejects.toMatchObject({ code: "STOW_UNREACHABLE", message: expect.stringContaining("2 s") });
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test("that stops answering later is told apart", async () => {
    answer = () => {};
    await expect(new AdminClient({ server: url }, io()).post("/gc", {}, 50)).rejects.toMatchObject({ code: "STOW_NO_ANSWER" });
  });

  test("that is something else is not taken for one of ours", async () => {
    answer = (_, response) => response.end("<html>");
    await expect(new AdminClient({ server: url }, io()).get("/keys")).rejects.toMatchObject({ code: "STOW_UNREACHABLE", message: expect.stringContaining("not as a Stowhouse server") });
  });

  test("that sends us elsewhere gets no credential there", async () => {
    answer = (_, response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end();
    await expect(new AdminClient({ server: url, token: "secret" }, io()).get("/keys")).rejects.toMatchObject({ code: "STOW_NO_ANSWER" });
  });
});

test.each([
  [401, "STOW_UNAUTHORIZED", "keys.env"],
  [403, "STOW_FORBIDDEN_ADMIN", "--token"],
  [404, "STOW_NOT_FOUND", "said"],
])("a refusal with %d keeps its code and says what helps", async (status, code, hint) => {
  answer = (_, response) => response.writeHead(status).end(JSON.stringify({ error: { code, message: "said" } }));
  await expect(new AdminClient({ server: url }, io()).get("/keys")).rejects.toMatchObject({ code, status, message: expect.stringContaining(hint) });
});

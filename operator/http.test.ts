import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttp, type RequestListener, type Server } from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { send, type Call } from "./http.ts";

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const ask = (url: string, more: Partial<Call> = {}) => send({ method: "GET", url, headers: {}, timeout: 2_000, ...more });
const over = async (listener: RequestListener) => `http://127.0.0.1:${await listen(createHttp(listener))}`;

describe("a request", () => {
  test("carries method, headers and body, and brings status and text", async () => {
    const url = await over((request, response) => {
      void request.toArray().then((chunks) => response.writeHead(201).end(`${request.method} ${String(request.headers["x-mark"])} ${chunks.join("")}`));
    });
    expect(await ask(url, { method: "POST", headers: { "x-mark": "1" }, body: "hällo" })).toEqual({ status: 201, text: "POST 1 hällo" });
  });

  test.each([
    ["nobody answers", () => {}],
    ["the answer doesn't end", (_: unknown, response: { write(text: string): void }) => response.write("{")],
  ])("ends in time when %s", async (_, listener) => {
    const url = await over(listener as RequestListener);
    await expect(ask(url, { timeout: 100 })).rejects.toThrow(/abort|time/i);
  });

  test("ends when the answer is too large, or breaks off", async () => {
    const large = await over((_, response) => void response.end(Buffer.alloc(5 << 20)));
    await expect(ask(large)).rejects.toThrow("larger than 4 MiB");
    const broken = await over((_, response) => {
      response.writeHead(200, { "content-length": "10" }).write("123");
      setTimeout(() => response.destroy(), 20);
    });
    await expect(ask(broken)).rejects.toThrow();
  });
});

test("over TLS only the server's own certificate is believed, whatever its name", async () => {
  const folder = mkdtempSync(join(tmpdir(), "stowhouse-operator-tls-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=authority");
  for (const name of ["own", "other"]) {
    openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}.example.com`);
    openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", `${name}.crt`, "-days", "2", "-copy_extensions", "copy");
  }
  const serve = async (name: string) => `https://127.0.0.1:${await listen(createHttps({ key: read(`${name}.key`), cert: read(`${name}.crt`) + read("ca.crt") }, (_, response) => void response.end("ok")))}`;
  const own = await serve("own");
  expect(await ask(own, { trusted: read("own.crt") })).toMatchObject({ status: 200 });
  await expect(ask(await serve("other"), { trusted: read("own.crt") })).rejects.toThrow();
  await expect(ask(own)).rejects.toThrow();
});

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get as httpsGet } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { connect as tlsConnect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { KEYS, startApp } from "../../test/fixtures/app.ts";
import { plain } from "../../test/fixtures/plain-protocol.ts";
import { openRaw } from "../../test/fixtures/raw-http.ts";
import type { Protocol } from "../protocols/protocol.ts";
import { WebSockets } from "./websocket.ts";

describe("TLS", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "stowhouse-tls-"));
    const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
    const own = (name: string, subject: string) =>
      openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`, "-out", `${name}.crt`, "-days", "2", "-subj", `/CN=${subject}`, "-addext", "subjectAltName=IP:127.0.0.1");
    own("first", "first");
    own("second", "second");
    own("ca", "authority");
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "client.key", "-out", "client.csr", "-subj", "/CN=client");
    openssl("x509", "-req", "-in", "client.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "client.crt", "-days", "2");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const path = (name: string) => join(folder, name);
  /** Whose certificate the server shows, and the status of a probe over the same connection. */
  function probe(url: string, client: object = {}): Promise<{ subject: string; status: number }> {
    return new Promise((resolve, reject) => {
      httpsGet(`${url}/livez`, { rejectUnauthorized: false, agent: false, ...client }, (answer) => {
        const subject = String((answer.socket as TLSSocket).getPeerCertificate().subject.CN);
        answer.resume().on("end", () => resolve({ subject, status: answer.statusCode! }));
      }).on("error", reject);
    });
  }

  test("takes a renewed certificate over without a restart, but no half of one, and keeps connections", async () => {
    copyFileSync(path("first.crt"), path("cert.pem"));
    copyFileSync(path("first.key"), path("key.pem"));
    const app = await startApp({ tls: { cert: path("cert.pem"), key: path("key.pem") } });
    onTestFinished(() => app.close());
    const url = await app.listen();
    expect(await probe(url)).toEqual({ subject: "first", status: 200 });
    const kept = openRaw(url, tlsConnect({ port: Number(new URL(url).port), host: "127.0.0.1", rejectUnauthorized: false }));
    const logs = async (text: string) => {
      for (let i = 0; i < 120 && !(await app.logged()).includes(text); i++) await setTimeout(50);
      return (await app.logged()).includes(text);
    };
    copyFileSync(path("second.crt"), path("cert.pem"));
    expect(await logs("the one before stays")).toBe(true);
    expect(await probe(url)).toEqual({ subject: "first", status: 200 });
    copyFileSync(path("second.key"), path("key.pem"));
    expect(await logs("read again")).toBe(true);
    expect(await probe(url)).toEqual({ subject: "second", status: 200 });
    kept.send("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(await kept.closed()).toMatch(/^HTTP\/1.1 200 /);
  });

  test("asks for client certificates where it is told to", async () => {
    const certificate = { cert: readFileSync(path("client.crt")), key: readFileSync(path("client.key")) };
    const foreign = { cert: readFileSync(path("second.crt")), key: readFileSync(path("second.key")) };
    const tls = { cert: path("first.crt"), key: path("first.key"), clientCa: path("ca.crt") };
    const strict = await startApp({ tls: { ...tls, requireClientCert: true } });
    onTestFinished(() => strict.close());
    const strictUrl = await strict.listen();
    expect((await probe(strictUrl, certificate)).status).toBe(200);
    await expect(probe(strictUrl)).rejects.toThrow();
    await expect(probe(strictUrl, foreign)).rejects.toThrow();
    const lenient = await startApp({ tls });
    onTestFinished(() => lenient.close());
    const lenientUrl = await lenient.listen();
    expect((await probe(lenientUrl)).status).toBe(200);
    expect((await probe(lenientUrl, certificate)).status).toBe(200);
  });

  test("carries WebSockets", async () => {
    const echo = {
      ...plain,
      plugin: (app, { auth }) => {
        const sockets = new WebSockets(auth, { sockets: 1, perActor: 1, message: 100, ping: 1_000, silence: 3_000, check: 1_000 });
        sockets.listen(app);
        app.get("/echo", (request, reply) => sockets.accept(request, reply, (socket) => void socket.on("message", (data: Buffer) => socket.send(String(data)))));
      },
    } satisfies Protocol;
    const server = await startApp({ tls: { cert: path("first.crt"), key: path("first.key") } }, [echo]);
    onTestFinished(() => server.close());
    const socket = new WebSocket(`${(await server.listen()).replace("https", "wss")}/echo`, { rejectUnauthorized: false, headers: { authorization: `Bearer ${KEYS.read}` } });
    await once(socket, "open");
    socket.send("hello");
    expect(String((await once(socket, "message"))[0])).toBe("hello");
  });
});

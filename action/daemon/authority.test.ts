import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { issue } from "./authority.ts";

const loopback = new Loopback();
afterEach(() => loopback.close());

describe("a job's authority", () => {
  it("signs a certificate for its host, which openssl and Node accept for that host alone", () => {
    const { authority, identity } = issue("results.example.com");
    const [ca, leaf] = [new X509Certificate(authority), new X509Certificate(identity.certificate)];
    expect([ca.ca, leaf.ca, ca.checkIssued(ca), leaf.checkIssued(ca), leaf.verify(ca.publicKey)]).toEqual([true, false, true, true, true]);
    expect([leaf.checkHost("results.example.com"), leaf.checkHost("example.com")]).toEqual(["results.example.com", undefined]);
    const home = mkdtempSync(path.join(tmpdir(), "stowhouse-authority-"));
    try {
      writeFileSync(path.join(home, "ca"), authority);
      writeFileSync(path.join(home, "leaf"), identity.certificate);
      const verify = (...names: string[]) => execFileSync("openssl", ["verify", "-x509_strict", "-CAfile", path.join(home, "ca"), ...names, path.join(home, "leaf")]).toString();
      expect(verify("-verify_hostname", "results.example.com")).toContain("OK");
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  it.each(["results.example.com", "127.0.0.1"])("serves TLS for %s to clients that trust it, and to no others", async (host) => {
    const { authority, identity } = issue(host);
    const server = tls.createServer({ key: identity.key, cert: identity.certificate }, (socket) => socket.end("hello"));
    server.on("tlsClientError", () => {});
    const { port } = await loopback.listen(server);
    const said = (options: tls.ConnectionOptions) =>
      new Promise<string>((resolve) => {
        const socket = tls.connect({ port: Number(port), host: "127.0.0.1", ...(host === "127.0.0.1" ? {} : { servername: host }), ...options });
        socket.on("data", (data) => resolve(data.toString()));
        socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code!));
      });
    expect(await said({ ca: authority })).toBe("hello");
    expect(await said({ ca: authority, servername: "elsewhere.example.com", host: "127.0.0.1" })).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(await said({ ca: issue(host).authority })).not.toBe("hello");
  });
});

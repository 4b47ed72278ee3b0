import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { certificate } from "./certificate.ts";

const specOf = (spec: object) => certificate(cacheServer(spec), someInputs())?.["spec"] as { dnsNames: string[]; secretName: string; issuerRef: object } | undefined;

test("a certificate is for all names of the Service, the public host and those added, each once", () => {
  expect(specOf({ url: "https://cache.example.com:8443", tls: { issuerRef: { name: "internal" }, dnsNames: ["cache.internal", "cache.example.com"] } })).toMatchObject({
    secretName: "cache-tls",
    issuerRef: { name: "internal", kind: "Issuer", group: "cert-manager.io" },
    dnsNames: ["cache.ci.svc.cluster.local", "cache.ci.svc", "cache.ci", "cache", "cache.example.com", "cache.internal"],
  });
});

test("an address is no name", () => {
  expect(specOf({ url: "https://10.0.0.1", tls: { issuerRef: { name: "i" } } })!.dnsNames).not.toContain("10.0.0.1");
  expect(specOf({ url: "https://[fd00::1]:443", tls: { issuerRef: { name: "i" } } })!.dnsNames).toHaveLength(4);
});

test("with a Secret of the user's there is none", () => {
  expect(specOf({ tls: { secretName: "tls" } })).toBeUndefined();
  expect(specOf({})).toBeUndefined();
});

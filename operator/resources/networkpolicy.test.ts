import { describe, expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { networkPolicy } from "./networkpolicy.ts";

interface Rule {
  from?: object[];
  ports: { protocol: string; port: number }[];
}
const policy = (spec: object = {}) => networkPolicy(cacheServer(spec), someInputs())?.["spec"] as { ingress: [Rule, Rule]; egress: Rule[]; podSelector: object };
const outgoing = (spec: object) => policy(spec).egress.slice(1).flatMap(({ ports }) => ports.map(({ port }) => port));

test("anyone may reach the server and its metrics, and nothing else of the pod", () => {
  expect(policy().ingress).toEqual([{ ports: [{ protocol: "TCP", port: 8420 }] }, { ports: [{ protocol: "TCP", port: 9420 }] }]);
});

test("clients and scrapers can be named; the operator stays among those who may", () => {
  const clients = [{ podSelector: { matchLabels: { runner: "true" } } }];
  const scrapers = [{ namespaceSelector: { matchLabels: { name: "monitoring" } } }];
  const [http, metrics] = policy({ networkPolicy: { clients, scrapers } }).ingress;
  expect(http.from).toEqual([...clients, { namespaceSelector: {}, podSelector: { matchLabels: { "app.kubernetes.io/name": "stowhouse-operator" } } }]);
  expect(metrics.from).toEqual(scrapers);
});

test("there is none when it is switched off", () => {
  expect(networkPolicy(cacheServer({ networkPolicy: { enabled: false } }), someInputs())).toBeUndefined();
});

describe("pods may connect to", () => {
  const s3 = (more: object = {}) => ({ type: "S3", s3: { bucket: "b", ...more } });
  const secret = { credentialsSecret: { name: "bucket" } };

  test("DNS always", () => {
    expect(policy().egress).toEqual([{ ports: [{ protocol: "UDP", port: 53 }, { protocol: "TCP", port: 53 }] }]);
  });

  test.each<[string, object, number[]]>([
    ["a bucket of AWS", { storage: s3(secret) }, [443]],
    ["a bucket elsewhere", { storage: s3({ ...secret, endpoint: "http://minio:9000" }) }, [9000]],
    ["who gives credentials, without a Secret", { storage: s3({ endpoint: "https://s3.example.com" }) }, [80, 443]],
    ["the database", { database: { type: "PostgreSQL", urlSecret: { name: "database" }, port: 6432 } }, [6432]],
    ["GitHub, with rules", { auth: { github: { rules: [{ repositoryId: 1 }] } } }, [443]],
    ["another issuer", { auth: { github: { issuer: "https://issuer.example.com:8443/x", rules: [{ repositoryId: 1 }] } } }, [8443]],
    ["what a protocol's options name", { protocols: { go: { metricsProxy: { endpoint: "http://pushgateway:9091/metrics" } } } }, [9091]],
    ["not to the server's own URL", { url: "https://cache.example.com:8443" }, []],
  ])("%s", (_, spec, ports) => expect(outgoing(spec)).toEqual(ports));

  test("what the resource adds", () => {
    const egress = [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }], ports: [{ protocol: "TCP", port: 3128 }] }];
    expect(policy({ networkPolicy: { egress } }).egress.at(-1)).toEqual(egress[0]);
  });
});

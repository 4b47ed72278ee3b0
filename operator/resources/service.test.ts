import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { clientPorts } from "./ports.ts";
import { metricsService, service } from "./service.ts";

const specOf = (spec: object) => service(cacheServer({ service: spec }), someInputs())["spec"] as Record<string, unknown>;

test("clients get named ports, and never the one without a credential", () => {
  expect(specOf({})["ports"]).toEqual([{ name: "http", port: 8420, targetPort: "http", protocol: "TCP", appProtocol: "http" }]);
  expect(specOf({ port: 80, type: "LoadBalancer" })["ports"]).toEqual([{ name: "http", port: 80, targetPort: "http", protocol: "TCP", appProtocol: "http" }]);
  const { ports } = service(cacheServer({ tls: { secretName: "tls" } }), someInputs())["spec"] as { ports: { appProtocol: string }[] };
  expect(ports[0]!.appProtocol).toBe("https");
});

test("Prometheus gets a Service of its own, which nothing outside can reach", () => {
  const { metadata, spec } = metricsService(cacheServer({ service: { type: "LoadBalancer" } }), someInputs()) as unknown as { metadata: { name: string }; spec: { clusterIP: string; type: string; ports: { name: string; port: number }[] } };
  expect(metadata.name).toBe("cache-metrics");
  expect(spec).toMatchObject({ type: "ClusterIP", clusterIP: "None", ports: [{ name: "metrics", port: 9420 }] });
});

test("fields of load balancers stand on load balancers only: the API refuses them elsewhere", () => {
  const wanted = { loadBalancerClass: "example.com/lb", loadBalancerSourceRanges: ["10.0.0.0/8"], externalTrafficPolicy: "Local" };
  expect(Object.keys(specOf(wanted)).sort()).toEqual(["ports", "selector", "type"]);
  expect(Object.keys(specOf({ ...wanted, type: "NodePort" }))).toContain("externalTrafficPolicy");
  expect(specOf({ ...wanted, type: "LoadBalancer" })).toMatchObject(wanted);
});

test("a protocol with a listener of its own has a port while it is on", () => {
  const listeners = { nip: [{ name: "nip", port: 9000 }] };
  expect(clientPorts(cacheServer(), listeners).map(({ name }) => name)).toEqual(["http", "nip"]);
  expect(clientPorts(cacheServer({ protocols: { nip: { enabled: false } } }), listeners).map(({ name }) => name)).toEqual(["http"]);
});

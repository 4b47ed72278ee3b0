import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { httpRoute } from "./httproute.ts";
import { ingress } from "./ingress.ts";

test("an Ingress sends each host to the Service's HTTP port", () => {
  const object = ingress(cacheServer({ ingress: { className: "nginx", hosts: ["a.example.com", "b.example.com"], tlsSecretName: "t", annotations: { x: "y" } } }), someInputs())!;
  const backend = { service: { name: "cache", port: { name: "http" } } };
  const paths = [{ path: "/", pathType: "Prefix", backend }];
  expect(object["spec"]).toEqual({
    ingressClassName: "nginx",
    rules: [{ host: "a.example.com", http: { paths } }, { host: "b.example.com", http: { paths } }],
    tls: [{ hosts: ["a.example.com", "b.example.com"], secretName: "t" }],
  });
  expect(object.metadata.annotations).toEqual({ x: "y" });
});

test("an HTTPRoute sends what its Gateways take to the Service", () => {
  const object = httpRoute(cacheServer({ service: { port: 80 }, httpRoute: { parentRefs: [{ name: "public", namespace: "gateways" }], hostnames: ["a.example.com"] } }), someInputs())!;
  expect(object["spec"]).toEqual({
    parentRefs: [{ name: "public", namespace: "gateways" }],
    hostnames: ["a.example.com"],
    rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }], backendRefs: [{ name: "cache", port: 80 }] }],
  });
});

test("nothing is published unless the resource says so", () => {
  expect([ingress, httpRoute].map((build) => build(cacheServer(), someInputs()))).toEqual([undefined, undefined]);
});

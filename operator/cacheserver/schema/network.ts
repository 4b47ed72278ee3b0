import { integer, flag, list, oneOf, optional, section } from "../../../server/config/fields.ts";
import { foreign, objectName, presence, ruled, string, strings } from "../../fields.ts";

const HOST = "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const host = (description: string) => string({ pattern: HOST, description });

export const Tls = ruled(
  presence("TLS in the server itself, from a Secret or from cert-manager. Renewed certificates are taken over without a restart.", {
    secretName: optional(objectName({ description: "A Secret with tls.crt and tls.key." })),
    issuerRef: optional(section("The cert-manager issuer that signs a certificate for the Service, the public URL's host and dnsNames.", {
      name: objectName({ description: "Name of the issuer." }),
      kind: string({ default: "Issuer", description: "Kind of the issuer: Issuer, ClusterIssuer, or one of another group." }),
      group: string({ default: "cert-manager.io", description: "API group of the issuer." }),
    })),
    dnsNames: list(host("A host name."), { default: [], maxItems: 50, description: "Only with issuerRef: further names in the certificate." }),
  }),
  { rule: "has(self.secretName) != has(self.issuerRef)", message: "name either secretName or issuerRef", fieldPath: ".secretName" },
);

export const Service = section("How clients in the cluster reach the server.", {
  type: oneOf(["ClusterIP", "NodePort", "LoadBalancer"], { default: "ClusterIP", description: "Type of the Service." }),
  port: integer(1, 65_535, { default: 8420, description: "Port of the Service; the pods listen on 8420." }),
  loadBalancerClass: optional(string({ description: "Only with type LoadBalancer: who makes it." })),
  loadBalancerSourceRanges: list(string({ maxLength: 50, description: "A network like 10.0.0.0/8." }), { default: [], maxItems: 100, description: "Only with type LoadBalancer: who may connect." }),
  externalTrafficPolicy: optional(oneOf(["Cluster", "Local"], { description: "Only with types NodePort and LoadBalancer: whether connections from outside stay on the node they come to." })),
  labels: optional(strings({ description: "Further labels of the Service." })),
  annotations: optional(strings({ description: "Annotations of the Service." })),
});

export const Ingress = presence("Clients from outside, through an Ingress. The first host becomes the server's url unless that is set.", {
  className: optional(string({ description: "Ingress class. Default: the cluster's." })),
  hosts: list(host("A host name."), { minItems: 1, maxItems: 50, description: "Host names." }),
  tlsSecretName: optional(objectName({ description: "Secret with the certificate of the hosts; cert-manager makes it when an annotation says so." })),
  labels: optional(strings({ description: "Further labels of the Ingress." })),
  annotations: optional(strings({ description: "Annotations of the Ingress. Bodies are large: most controllers need their limits lifted." })),
});

export const HttpRoute = presence("Clients from outside, through a Gateway. The first host name becomes the server's url, with https, unless that is set.", {
  parentRefs: list(
    section("A Gateway, or one of its listeners.", {
      name: objectName({ description: "Name of the Gateway." }),
      namespace: optional(objectName({ description: "Its namespace. Default: that of this resource." })),
      sectionName: optional(string({ description: "Name of the listener. Default: all." })),
      port: optional(integer(1, 65_535, { description: "Port of the listener. Default: all." })),
    }),
    { minItems: 1, maxItems: 32, description: "Gateways that take the route." },
  ),
  hostnames: list(host("A host name."), { default: [], maxItems: 16, description: "Host names. Default: those of the listeners." }),
  labels: optional(strings({ description: "Further labels of the HTTPRoute." })),
  annotations: optional(strings({ description: "Annotations of the HTTPRoute." })),
});

const peers = (who: string) =>
  list(foreign({ description: "A NetworkPolicyPeer: podSelector, namespaceSelector or ipBlock." }), { default: [], maxItems: 100, description: `${who} Default: everyone.` });

export const NetworkPolicy = section("Which connections the pods may take and open; enforced where the cluster's network does that.", {
  enabled: flag({ default: true, description: "Whether there is a NetworkPolicy." }),
  clients: peers("Who may reach the server. The operator always may."),
  scrapers: peers("Who may read the metrics."),
  egress: list(foreign({ description: "A NetworkPolicyEgressRule: to and ports." }), {
    default: [],
    maxItems: 100,
    description: "Connections the pods may open beside those to DNS, HTTPS, the bucket and the database.",
  }),
});

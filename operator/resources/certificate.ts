import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import { tlsSecretName, type Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { publicUrl, serviceNames } from "./urls.ts";

/** The certificate that cert-manager is to keep in the TLS Secret. */
export function certificate(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { tls } = server.spec;
  if (tls?.issuerRef === undefined) return undefined;
  const url = publicUrl(server);
  const names = new Set([...serviceNames(server, inputs), ...(url === undefined ? [] : [new URL(url).hostname]), ...tls.dnsNames]);
  return {
    apiVersion: "cert-manager.io/v1",
    kind: "Certificate",
    metadata: metadata(server, inputs),
    spec: {
      secretName: tlsSecretName(server),
      issuerRef: tls.issuerRef,
      dnsNames: [...names].filter((name) => !/^[\d.]+$|:/.test(name)),
      privateKey: { algorithm: "ECDSA", size: 256, rotationPolicy: "Always" },
      usages: ["digital signature", "server auth"],
    },
  };
}

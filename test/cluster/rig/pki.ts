import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { run } from "../../fixtures/tools.ts";
import { rigHome } from "./processes.ts";

/** The node's address, on a bridge of the rig's own network. */
export const NODE = "10.88.0.1";
export const API = `https://${NODE}:6443`;

/** Components and their tokens: the names that Kubernetes' own roles are bound to. */
const TOKENS = {
  admin: ["admin", "system:masters"],
  "controller-manager": ["system:kube-controller-manager", ""],
  scheduler: ["system:kube-scheduler", ""],
  proxy: ["system:kube-proxy", ""],
  kubelet: ["system:node:rig", "system:nodes"],
} as const;
export type Component = keyof typeof TOKENS;

export const tokenOf = (component: Component) => `${component}-token`;
export const pki = (name: string) => path.join(rigHome(), "pki", name);

/** One authority for servers and clients, a key for service account tokens, static tokens for the components. */
export async function makePki(): Promise<void> {
  mkdirSync(pki(""), { recursive: true });
  const openssl = (...args: string[]) => run("openssl", args, { cwd: pki(""), timeout: 30_000 });
  const key = (name: string) => openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
  const signed = async (name: string, subject: string, extensions: string) => {
    await key(name);
    writeFileSync(pki(`${name}.ext`), extensions);
    await openssl("req", "-new", "-key", `${name}.key`, "-subj", subject, "-out", `${name}.csr`);
    await openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-out", `${name}.crt`, "-extfile", `${name}.ext`);
  };
  await key("ca");
  await openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=rig", "-days", "30", "-out", "ca.crt");
  const names = ["IP:127.0.0.1", `IP:${NODE}`, "IP:10.96.0.1", "DNS:localhost", "DNS:kubernetes.default.svc"];
  await signed("server", "/CN=kube-apiserver", `subjectAltName=${names.join(",")}`);
  // Kubelets know their API server by its certificate.
  await signed("client", "/O=system:masters/CN=apiserver", "extendedKeyUsage=clientAuth");
  await key("accounts");
  await openssl("ec", "-in", "accounts.key", "-pubout", "-out", "accounts.pub");
  const lines = Object.entries(TOKENS).map(([component, [user, group]], uid) => `${tokenOf(component as Component)},${user},${uid}${group === "" ? "" : `,"${group}"`}`);
  writeFileSync(pki("tokens.csv"), `${lines.join("\n")}\n`);
}

/** Writes a kubeconfig for whoever holds `user`'s credential. Returns its path. @param user fields of kubeconfig's user */
export function kubeconfig(name: string, user: object, server = API): string {
  const target = path.join(rigHome(), `${name}.kubeconfig`);
  const cluster = { server, "certificate-authority-data": readFileSync(pki("ca.crt")).toString("base64") };
  writeFileSync(target, JSON.stringify({
    apiVersion: "v1", kind: "Config", "current-context": "rig", contexts: [{ name: "rig", context: { cluster: "rig", user: name } }],
    clusters: [{ name: "rig", cluster }], users: [{ name, user }],
  }), { mode: 0o600 });
  return target;
}

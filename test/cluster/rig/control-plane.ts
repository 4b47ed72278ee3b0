import { writeFileSync } from "node:fs";
import path from "node:path";
import { run } from "../../fixtures/tools.ts";
import { kubernetes } from "../tools.ts";
import { kubeconfig, makePki, NODE, pki, tokenOf, type Component } from "./pki.ts";
import { rigHome, said, until, type Keeper } from "./processes.ts";

/** Only loopback and the rig's bridge exist here, so every port is free. */
export const ETCD = "http://127.0.0.1:2379";
/** The API as administrator, in plain HTTP: `kubectl proxy`. */
export const PROXY = "http://127.0.0.1:8001";

/** What the operator does is written down, line by line; what the cluster does is not. */
const AUDIT = {
  apiVersion: "audit.k8s.io/v1", kind: "Policy", omitStages: ["RequestReceived"],
  rules: [
    { level: "None", userGroups: ["system:masters", "system:nodes", "system:serviceaccounts:kube-system"] },
    { level: "None", users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:anonymous"] },
    { level: "Metadata" },
  ],
};

export const auditLog = () => path.join(rigHome(), "log", "audit");

/** etcd, API server, controller manager and scheduler. Returns when all of them work. */
export async function startControlPlane(keeper: Keeper): Promise<void> {
  const home = rigHome();
  const programs = await kubernetes();
  await makePki();
  const program = (name: string) => path.join(programs, name);
  const config = (component: Component) => kubeconfig(component, { token: tokenOf(component) });
  const admin = config("admin");
  writeFileSync(path.join(home, "audit.json"), JSON.stringify(AUDIT));

  keeper.keep("etcd", program("server"), [
    `--data-dir=${path.join(home, "etcd")}`, "--unsafe-no-fsync", `--listen-client-urls=${ETCD}`, `--advertise-client-urls=${ETCD}`, "--listen-peer-urls=http://127.0.0.1:2380", "--log-level=warn",
  ]);
  keeper.keep("apiserver", program("kube-apiserver"), [
    `--etcd-servers=${ETCD}`, "--bind-address=0.0.0.0", "--secure-port=6443", `--advertise-address=${NODE}`, "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=Node,RBAC", `--token-auth-file=${pki("tokens.csv")}`, `--client-ca-file=${pki("ca.crt")}`,
    `--tls-cert-file=${pki("server.crt")}`, `--tls-private-key-file=${pki("server.key")}`,
    `--kubelet-client-certificate=${pki("client.crt")}`, `--kubelet-client-key=${pki("client.key")}`, "--kubelet-preferred-address-types=InternalIP",
    "--service-account-issuer=https://kubernetes.default.svc", `--service-account-signing-key-file=${pki("accounts.key")}`, `--service-account-key-file=${pki("accounts.pub")}`,
    `--audit-policy-file=${path.join(home, "audit.json")}`, `--audit-log-path=${auditLog()}`, "--audit-log-mode=blocking", "--allow-privileged=true", "--profiling=false",
  ]);
  const kubectl = (...args: string[]) => run(program("kubectl"), ["--kubeconfig", admin, ...args], { timeout: 20_000 });
  await until("the API server is ready", 60, () => kubectl("get", "--raw=/readyz").then(() => true), () => said("apiserver"));
  keeper.keep("proxy-of-tests", program("kubectl"), ["--kubeconfig", admin, "proxy", "--port=8001"]);
  keeper.keep("controller-manager", program("kube-controller-manager"), [
    `--kubeconfig=${config("controller-manager")}`, "--leader-elect=false", "--bind-address=127.0.0.1",
    // Kubernetes' own roles are bound to one service account a controller.
    "--use-service-account-credentials=true", `--service-account-private-key-file=${pki("accounts.key")}`, `--root-ca-file=${pki("ca.crt")}`,
    `--cluster-signing-cert-file=${pki("ca.crt")}`, `--cluster-signing-key-file=${pki("ca.key")}`,
  ]);
  keeper.keep("scheduler", program("kube-scheduler"), [`--kubeconfig=${config("scheduler")}`, "--leader-elect=false", "--bind-address=127.0.0.1"]);
  await until("the controller manager works", 60, () => kubectl("get", "serviceaccount", "default", "-o", "name").then(() => true), () => said("controller-manager"));
  await until("the tests' proxy answers", 20, () => fetch(`${PROXY}/readyz`).then((answer) => answer.ok), () => said("proxy-of-tests"));
}

/** Forgets all of etcd's history: whoever resumes a watch gets 410. */
export async function compact(): Promise<void> {
  const post = async (call: string, body: object) => {
    const answer = await fetch(`${ETCD}/v3/${call}`, { method: "POST", body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`etcd: ${call}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as { header: { revision: string } };
  };
  const { header } = await post("kv/range", { key: Buffer.from("/registry").toString("base64") });
  await post("kv/compaction", { revision: header.revision, physical: true });
}


import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { run } from "../../fixtures/tools.ts";
import { kubernetes } from "../tools.ts";
import { PROXY } from "./control-plane.ts";
import { kubeconfig, NODE, pki, tokenOf } from "./pki.ts";
import { rigHome, said, until, type Keeper } from "./processes.ts";

const PODS = "10.244.0.0/24";

const containerd = (home: string) => `version = 2
root = "${home}/containerd/root"
state = "${home}/containerd/state"
[grpc]
  address = "${home}/containerd/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "stowhouse.local/pause:1"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE nobody may lower an OOM score, and runc would give up.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`;

const CNI = {
  cniVersion: "0.4.0", name: "rig",
  plugins: [
    { type: "bridge", bridge: "pods", isGateway: true, ipMasq: false, hairpinMode: true, ipam: { type: "host-local", ranges: [[{ subnet: PODS }]], routes: [{ dst: "0.0.0.0/0" }] } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

const kubelet = (home: string) => ({
  apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration",
  containerRuntimeEndpoint: `unix://${home}/containerd/socket`, cgroupDriver: "cgroupfs", cgroupRoot: `/${path.basename(home)}`, failCgroupV1: false, failSwapOn: false, enforceNodeAllocatable: [],
  authentication: { anonymous: { enabled: false }, x509: { clientCAFile: pki("ca.crt") } }, address: NODE, port: 10250, healthzPort: 0,
  clusterDNS: [NODE], clusterDomain: "cluster.local", resolvConf: "", maxPods: 100, nodeStatusUpdateFrequency: "5s",
  // A changed ConfigMap reaches its pods at a pod's next turn: every minute by default, and tests wait for it.
  syncFrequency: "3s",
  // The machine's disk may be as full as it likes.
  evictionHard: Object.fromEntries(["memory.available", "nodefs.available", "imagefs.available", "nodefs.inodesFree", "imagefs.inodesFree"].map((signal) => [signal, "0%"])), imageGCHighThresholdPercent: 100,
});

const proxy = (config: string) => ({
  apiVersion: "kubeproxy.config.k8s.io/v1alpha1", kind: "KubeProxyConfiguration", mode: "iptables", clusterCIDR: PODS, hostnameOverride: "rig", bindAddress: NODE,
  clientConnection: { kubeconfig: config }, healthzBindAddress: "127.0.0.1:10256", metricsBindAddress: "127.0.0.1:10249",
  conntrack: { maxPerCore: 0, min: 0 }, iptables: { localhostNodePorts: false, minSyncPeriod: "100ms" },
});

/** containerd, kubelet and kube-proxy: one real node. @param images a directory in OCI layout. Returns when the node is Ready */
export async function startNode(keeper: Keeper, images: string): Promise<void> {
  const home = rigHome();
  const programs = await kubernetes();
  const write = (name: string, body: unknown) => {
    mkdirSync(path.dirname(path.join(home, name)), { recursive: true });
    writeFileSync(path.join(home, name), typeof body === "string" ? body : JSON.stringify(body));
    return path.join(home, name);
  };
  write("cni/10-rig.conflist", CNI);
  keeper.keep("containerd", "containerd", ["--config", write("containerd/config.toml", containerd(home))]);
  const ctr = (...args: string[]) => run("ctr", ["--address", path.join(home, "containerd/socket"), "--namespace", "k8s.io", ...args], { timeout: 120_000 });
  await until("containerd answers", 30, () => ctr("version").then(() => true), () => said("containerd"));
  await run("tar", ["-C", images, "-cf", `${images}.tar`, "."]);
  await ctr("images", "import", `${images}.tar`);
  keeper.keep("kubelet", path.join(programs, "kubelet"), [
    `--config=${write("kubelet.json", kubelet(home))}`, `--kubeconfig=${kubeconfig("kubelet", { token: tokenOf("kubelet") })}`, "--hostname-override=rig", `--node-ip=${NODE}`, "--root-dir=/var/lib/kubelet",
  ]);
  keeper.keep("kube-proxy", path.join(programs, "kube-proxy"), [`--config=${write("kube-proxy.json", proxy(kubeconfig("proxy", { token: tokenOf("proxy") })))}`]);
  await until("the node is Ready", 90, async () => {
    const answer = await fetch(`${PROXY}/api/v1/nodes/rig`);
    const node = (await answer.json()) as { status?: { conditions?: { type: string; status: string }[] } };
    return node.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
  }, () => said("kubelet"));
}

/** Volumes of the default class, on the rig's disk, for pods without root rights. @param count a claim that is deleted doesn't give its volume back */
export function volumes(count: number): object[] {
  const storageClass = {
    apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata: { name: "local", annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
    provisioner: "kubernetes.io/no-provisioner", volumeBindingMode: "WaitForFirstConsumer", allowVolumeExpansion: true,
  };
  return [storageClass, ...Array.from({ length: count }, (_, index) => {
    const directory = path.join(rigHome(), "volumes", String(index));
    mkdirSync(directory, { recursive: true });
    return {
      apiVersion: "v1", kind: "PersistentVolume", metadata: { name: `local-${index}` },
      spec: {
        capacity: { storage: "10Gi" }, accessModes: ["ReadWriteOnce"], storageClassName: "local", persistentVolumeReclaimPolicy: "Retain", local: { path: directory },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: ["rig"] }] }] } },
      },
    };
  })];
}

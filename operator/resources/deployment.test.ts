import { describe, expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { deployment } from "./deployment.ts";
import { isShared } from "./volume.ts";

interface Spec {
  replicas: number;
  strategy: object;
  selector: { matchLabels: Record<string, string> };
  template: { metadata: { labels: Record<string, string>; annotations: Record<string, string> }; spec: Record<string, unknown> & { containers: (Record<string, unknown> & { name: string })[]; volumes: Record<string, unknown>[]; securityContext: object } };
}
const specOf = (spec: object = {}) => deployment(cacheServer(spec), someInputs())["spec"] as Spec;
const podOf = (spec: object = {}) => specOf(spec).template.spec;
const serverOf = (spec: object = {}) => podOf(spec).containers[0]!;

const s3 = { type: "S3", s3: { bucket: "b" } };
const postgres = { type: "PostgreSQL", urlSecret: { name: "database" } };

describe("how pods are replaced", () => {
  test("the old one stops before the new one starts where they can't share", () => {
    for (const spec of [{}, { storage: s3 }, { database: postgres }, { storage: { persistentVolume: { accessMode: "ReadWriteMany" } } }]) {
      expect(specOf(spec).strategy).toEqual({ type: "Recreate" });
      expect(isShared(cacheServer(spec))).toBe(false);
    }
  });

  test("a new one serves before an old one stops where they can", () => {
    for (const storage of [s3, { persistentVolume: { accessMode: "ReadWriteMany" } }]) {
      expect(specOf({ storage, database: postgres }).strategy).toEqual({ type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } });
    }
  });

  test("a pod has time to drain before it is killed", () => {
    expect(podOf()["terminationGracePeriodSeconds"]).toBe(5 + 30 + 10);
    expect(podOf({ shutdown: { drain: "2m", delay: "1500ms" } })["terminationGracePeriodSeconds"]).toBe(5 + 120 + 2 + 10);
    expect(serverOf()["lifecycle"]).toEqual({ preStop: { sleep: { seconds: 5 } } });
  });

  test("the number of replicas is the resource's, with an autoscaler too", () => {
    expect(specOf({ replicas: 3, storage: s3, database: postgres, autoscaling: { maxReplicas: 5 } }).replicas).toBe(3);
    expect(specOf({ replicas: 0 }).replicas).toBe(0);
  });
});

describe("a pod", () => {
  test("satisfies the restricted profile, and holds no token of the cluster", () => {
    const pod = podOf();
    expect(pod.securityContext).toEqual({ runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, fsGroupChangePolicy: "OnRootMismatch", seccompProfile: { type: "RuntimeDefault" } });
    expect(serverOf()["securityContext"]).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
    expect(pod).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
    expect(pod.volumes.every((volume) => !("hostPath" in volume))).toBe(true);
  });

  test("keeps its data on a claim, unless all of it is elsewhere", () => {
    const data = (spec: object) => podOf(spec).volumes.find(({ name }) => name === "data");
    expect(data({})).toEqual({ name: "data", persistentVolumeClaim: { claimName: "cache" } });
    expect(data({ storage: s3 })).toEqual({ name: "data", persistentVolumeClaim: { claimName: "cache" } });
    expect(data({ storage: { persistentVolume: { existingClaim: "old" } } })).toEqual({ name: "data", persistentVolumeClaim: { claimName: "old" } });
    expect(data({ storage: s3, database: postgres })).toEqual({ name: "data", emptyDir: {} });
  });

  test("is asked by https when it serves https", () => {
    const schemes = (spec: object) => ["startupProbe", "livenessProbe", "readinessProbe"].map((name) => (serverOf(spec)[name] as { httpGet: { scheme: string; path: string } }).httpGet);
    expect(schemes({}).map(({ path, scheme }) => `${scheme} ${path}`)).toEqual(["HTTP /livez", "HTTP /livez", "HTTP /readyz"]);
    expect(schemes({ tls: { secretName: "tls" } }).every(({ scheme }) => scheme === "HTTPS")).toBe(true);
  });

  test("gets the bucket's key from the Secret and none without one", () => {
    const names = (spec: object) => (serverOf(spec)["env"] as { name: string }[]).map(({ name }) => name);
    expect(serverOf({ storage: { type: "S3", s3: { bucket: "b", credentialsSecret: { name: "bucket", accessKeyIdKey: "id" } } } })["env"]).toEqual(
      expect.arrayContaining([{ name: "AWS_ACCESS_KEY_ID", valueFrom: { secretKeyRef: { name: "bucket", key: "id" } } }, { name: "AWS_SECRET_ACCESS_KEY", valueFrom: { secretKeyRef: { name: "bucket", key: "secretAccessKey" } } }]),
    );
    expect(names({ storage: s3 }).filter((name) => name.startsWith("AWS"))).toEqual([]);
  });

  test("is spread over nodes by default, or as the resource says, always among its own", () => {
    const own = { labelSelector: { matchLabels: specOf().selector.matchLabels } };
    expect(podOf()["topologySpreadConstraints"]).toEqual([{ ...own, maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" }]);
    expect(podOf({ topologySpreadConstraints: [{ maxSkew: 2, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule" }] })["topologySpreadConstraints"]).toEqual([{ ...own, maxSkew: 2, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule" }]);
    expect(podOf({ topologySpreadConstraints: [] })["topologySpreadConstraints"]).toEqual([]);
  });
});

describe("a pod template of the user's", () => {
  test("changes the pod, but not how it is found nor when it is replaced", () => {
    const metadata = { labels: { "app.kubernetes.io/instance": "other", team: "x" }, annotations: { "stowhouse.dev/restart-hash": "0", note: "y" } };
    const { selector, template } = specOf({ podTemplate: { metadata, spec: { nodeSelector: { disk: "ssd" } } } });
    expect(template.metadata.labels).toMatchObject({ ...selector.matchLabels, team: "x" });
    expect(template.metadata.annotations).toEqual({ ...specOf().template.metadata.annotations, note: "y" });
    expect(template.spec["nodeSelector"]).toEqual({ disk: "ssd" });
    expect(template.spec.containers).toEqual(podOf().containers);
  });

  test("adds containers beside the server's", () => {
    const { containers } = podOf({ podTemplate: { spec: { containers: [{ name: "proxy", image: "p" }, { name: "server", imagePullPolicy: "Always" }] } } });
    expect(containers.map(({ name }) => name)).toEqual(["server", "proxy"]);
    expect(containers[0]!["imagePullPolicy"]).toBe("Always");
  });
});

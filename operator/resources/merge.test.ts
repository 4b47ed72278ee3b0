import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { merge } from "./merge.ts";

const pod = {
  containers: [
    {
      name: "server",
      image: "stowhouse:1",
      args: ["serve"],
      env: [{ name: "A", value: "1" }, { name: "B", valueFrom: { secretKeyRef: { name: "s", key: "b" } } }],
      ports: [{ name: "http", containerPort: 8420 }],
      volumeMounts: [{ name: "data", mountPath: "/data" }],
      livenessProbe: { httpGet: { path: "/livez", port: "http" }, periodSeconds: 10 },
      resources: { requests: { cpu: "100m", memory: "256Mi" } },
    },
  ],
  volumes: [{ name: "data", persistentVolumeClaim: { claimName: "cache" } }, { name: "tmp", emptyDir: {} }],
  securityContext: { runAsNonRoot: true, fsGroup: 10001 },
};
const server = (patch: object) => merge(pod, { containers: [{ name: "server", ...patch }] }).containers[0]! as unknown as Record<string, unknown>;

describe("a pod template over ours", () => {
  test("changes the fields it has and keeps the others", () => {
    expect(merge(pod, { securityContext: { fsGroup: 5 }, nodeSelector: { disk: "ssd" } })).toMatchObject({ securityContext: { runAsNonRoot: true, fsGroup: 5 }, nodeSelector: { disk: "ssd" }, volumes: pod.volumes });
    expect(server({ resources: { requests: { memory: "1Gi" } } })["resources"]).toEqual({ requests: { cpu: "100m", memory: "1Gi" } });
  });

  test("adds containers, and finds ours by name", () => {
    const { containers } = merge(pod, { containers: [{ name: "sidecar", image: "x" }, { name: "server", imagePullPolicy: "Always" }] });
    expect(containers.map(({ name }) => name)).toEqual(["server", "sidecar"]);
    expect(containers[0]).toMatchObject({ image: "stowhouse:1", imagePullPolicy: "Always" });
  });

  test("finds variables, ports and mounts by what names them", () => {
    expect(server({ env: [{ name: "C", value: "3" }, { name: "A", value: "2" }] })["env"]).toEqual([{ name: "A", value: "2" }, pod.containers[0]!.env[1], { name: "C", value: "3" }]);
    expect(server({ ports: [{ containerPort: 8420, protocol: "TCP", hostPort: 80 }, { containerPort: 8420, protocol: "UDP" }] })["ports"]).toEqual([{ name: "http", containerPort: 8420, protocol: "TCP", hostPort: 80 }, { containerPort: 8420, protocol: "UDP" }]);
    expect(server({ volumeMounts: [{ name: "ssd", mountPath: "/data" }] })["volumeMounts"]).toEqual([{ name: "ssd", mountPath: "/data" }]);
  });

  test("replaces lists without names", () => {
    expect(server({ args: ["serve", "--log-level", "debug"] })["args"]).toEqual(["serve", "--log-level", "debug"]);
  });

  test("has the one source of a volume, variable or probe that it chooses", () => {
    expect(merge(pod, { volumes: [{ name: "data", emptyDir: {} }] }).volumes[0]).toEqual({ name: "data", emptyDir: {} });
    expect(server({ env: [{ name: "B", value: "b" }] })["env"]).toContainEqual({ name: "B", value: "b" });
    expect(server({ livenessProbe: { exec: { command: ["true"] } } })["livenessProbe"]).toEqual({ exec: { command: ["true"] }, periodSeconds: 10 });
    expect(server({ livenessProbe: { periodSeconds: 60 } })["livenessProbe"]).toEqual({ ...pod.containers[0]!.livenessProbe, periodSeconds: 60 });
  });

  test("takes away with null and with $patch", () => {
    expect(merge(pod, { securityContext: { fsGroup: null } }).securityContext).toEqual({ runAsNonRoot: true });
    expect(server({ livenessProbe: null })).not.toHaveProperty("livenessProbe");
    expect(merge(pod, { volumes: [{ name: "tmp", $patch: "delete" }] }).volumes).toEqual([pod.volumes[0]]);
    expect(merge(pod, { securityContext: { $patch: "replace", runAsUser: 1 } }).securityContext).toEqual({ runAsUser: 1 });
  });
});

const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean());
const named = <T>(value: fc.Arbitrary<T>) => fc.uniqueArray(fc.tuple(fc.constantFrom("a", "b", "c", "d"), value), { selector: ([name]) => name, maxLength: 4 });
const env = named(leaf).map((items) => items.map(([name, value]) => ({ name, value })));
const container = fc.record({ image: fc.string(), args: fc.array(fc.string()), env, resources: fc.dictionary(fc.constantFrom("cpu", "memory"), fc.string()) }, { requiredKeys: [] });
const containers = named(container).map((items) => items.map(([name, rest]) => ({ ...rest, name })));
const spec = fc.record({ containers, nodeSelector: fc.dictionary(fc.constantFrom("x", "y", "z"), fc.string()), hostNetwork: fc.boolean(), priority: fc.integer() }, { requiredKeys: ["containers", "nodeSelector"] });

describe("for every pair of templates", () => {
  test("an empty patch changes nothing, and neither does the template itself", () => {
    fc.assert(fc.property(spec, (ours) => {
      expect(merge(ours, {})).toEqual(ours);
      expect(merge(ours, ours)).toEqual(ours);
    }));
  });

  test("merging twice is merging once, and neither argument is changed", () => {
    fc.assert(fc.property(spec, spec, (ours, patch) => {
      const before = structuredClone([ours, patch]);
      const once = merge(ours, patch);
      expect(merge(once, patch)).toEqual(once);
      expect([ours, patch]).toEqual(before);
    }));
  });

  test("the patch wins where it says something, ours stays where it says nothing", () => {
    fc.assert(fc.property(spec, spec, (ours, patch) => {
      const merged = merge(ours, patch);
      expect(merged).toMatchObject({ ...ours, ...patch, containers: expect.anything(), nodeSelector: { ...ours.nodeSelector, ...patch.nodeSelector } });
      expect(merged.containers.map(({ name }) => name)).toEqual([...new Set([...ours.containers, ...patch.containers].map(({ name }) => name))]);
      for (const one of merged.containers) {
        const [mine, theirs] = [ours, patch].map((side) => side.containers.find(({ name }) => name === one.name));
        expect(one.image).toBe(theirs?.image ?? mine?.image);
        expect(one.args).toEqual(theirs?.args ?? mine?.args);
        const values = new Map([...(mine?.env ?? []), ...(theirs?.env ?? [])].map(({ name, value }) => [name, value]));
        expect(new Map((one.env ?? []).map(({ name, value }) => [name, value]))).toEqual(values);
      }
    }));
  });

  test("nothing makes it throw", () => {
    fc.assert(fc.property(fc.anything(), fc.anything(), (ours, patch) => void merge({ spec: ours }, { spec: patch })));
  });
});

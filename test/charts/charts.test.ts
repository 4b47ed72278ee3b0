import { readFileSync } from "node:fs";
import path from "node:path";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { helm } from "../cluster/tools.ts";
import { helmOutput, objects, one, ROOT, template, VALUES } from "./render.ts";
import { schemaLocations } from "./schemas.ts";

const CASES = [
  ["stowhouse", "default", []],
  ["stowhouse", "full", ["-f", path.join(VALUES, "server-full.yaml")]],
  ["stowhouse-operator", "default", []],
  ["stowhouse-operator", "full", ["-f", path.join(VALUES, "operator-full.yaml")]],
] as const;

/** Without what differs each time, and what has tests and files of its own. */
function stable(text: string): string {
  return text.split(/^---\n/m).filter((document) => !document.includes("\nkind: CustomResourceDefinition") && !document.includes("-dashboard\n"))
    .join("---\n").replaceAll(/^( {2}(?:admin|read|write)-key: ).*$/gm, "$1(random)");
}

test.each(["stowhouse", "stowhouse-operator"])("helm lint finds nothing in %s", async (chart) => {
  expect(await helmOutput("lint", "--strict", `charts/${chart}`, "--kube-version", "1.35.0")).toContain("0 chart(s) failed");
});

describe.each(CASES)("%s, %s values", (chart, name, args) => {
  test("renders as it did (npm run test:charts -- --update writes it anew)", async () => {
    await expect(stable(await template(chart, ...args))).toMatchFileSnapshot(`golden/${chart}-${name}.yaml`);
  });

  test("every object is one that Kubernetes and the other projects' definitions take", async () => {
    const child = spawn(path.join(await helm(), "kubeconform"), ["-strict", "-summary", "-output", "json", ...(await schemaLocations()), "-skip", "CustomResourceDefinition", "-"]);
    let said = "";
    child.stdout.on("data", (text: Buffer) => (said += text));
    child.stderr.on("data", (text: Buffer) => (said += text));
    child.stdin.end(await template(chart, ...args));
    await once(child, "close");
    const report = JSON.parse(said) as { resources: unknown[]; summary: Record<string, number> };
    expect(report.resources).toEqual([]);
    expect(report.summary).toMatchObject({ invalid: 0, errors: 0 });
    expect(report.summary["valid"]).toBeGreaterThan(5);
  });
});

describe("values that can't work stop the install, and say which and why", () => {
  const refused = (chart: string, ...set: string[]) => template(chart, ...set.flatMap((value) => ["--set", value])).then(() => "it was rendered", (error: { stderr: string }) => error.stderr);
  test.each([
    ["replicaCount=two", /replicaCount.*got string, want integer/s],
    ["replicas=2", /additional properties 'replicas' not allowed/],
    ["config.caches.default.quotta=1GiB", /\/config\/caches\/default.*additional properties 'quotta' not allowed/s],
    ["config.caches.default.quota=lots", /\/config\/caches\/default\/quota.*does not match pattern/s],
    ["config.auth.adminKey=stow_admin_secret", /\/config\/auth.*additional properties 'adminKey' not allowed/s],
    ["image.digest=sha256:abc", /\/image\/digest.*does not match pattern/s],
    ["service.type=ExternalName", /\/service\/type.*must be one of/s],
    ["replicaCount=2", /replicaCount is 2, but more than one server needs PostgreSQL: name a Secret with its URL in database\.existingSecret/],
    ["config.database.type=postgres", /config\.database\.type is postgres, but .* database\.existingSecret/],
    ["ingress.enabled=true", /ingress\.hosts is empty/],
    ["httpRoute.enabled=true", /httpRoute\.parentRefs is empty/],
  ])("stowhouse: %s", async (set, message) => {
    expect(await refused("stowhouse", set)).toMatch(message);
  });

  test("several servers on a volume for one, or on disks of their own", async () => {
    const many = ["replicaCount=2", "database.existingSecret=db"];
    expect(await refused("stowhouse", ...many)).toMatch(/replicaCount is 2, but persistence\.accessModes allows one server only/);
    expect(await refused("stowhouse", ...many, "persistence.enabled=false")).toMatch(/config\.storages\.default keeps blobs in a pod's own directory.*make its type s3/);
    expect(await refused("stowhouse", "autoscaling.enabled=true", "database.existingSecret=db")).toMatch(/autoscaling\.enabled is true, but persistence/);
    expect(await refused("stowhouse", ...many, "persistence.accessModes={ReadWriteMany}")).toBe("it was rendered");
  });

  test.each([
    ["watchNamespaces=ci", /watchNamespaces.*got string, want array/s],
    ["logLevel=loud", /logLevel.*must be one of/s],
  ])("stowhouse-operator: %s", async (set, message) => {
    expect(await refused("stowhouse-operator", set)).toMatch(message);
  });
});

test.each(["stowhouse", "stowhouse-operator"])("%s: every pod passes the restricted profile, and writes nowhere but where it should", async (chart) => {
  const rendered = await objects(chart);
  const pods = rendered.filter(({ kind }) => kind === "Deployment" || kind === "Pod").map((object) => (object.kind === "Pod" ? object["spec"] : object["spec"].template.spec));
  expect(pods).toHaveLength(2);
  for (const { securityContext, containers, automountServiceAccountToken } of pods) {
    expect(securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    for (const container of containers) expect(container.securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
    expect(automountServiceAccountToken).toBe(chart === "stowhouse-operator");
  }
});

describe("stowhouse", () => {
  const restarts = async (...args: string[]) => one(await objects("stowhouse", ...args), "Deployment")["spec"].template.metadata.annotations["checksum/config"] as string;

  test("only what a running server can't take over restarts it", async () => {
    const before = await restarts();
    expect(await restarts("--set", "config.caches.default.quota=1GiB", "--set", "config.log.level=debug", "--set", "config.auth.sessionLifetime=30m")).toBe(before);
    expect(await restarts("--set", "config.limits.uploads=5")).not.toBe(before);
    expect(await restarts("--set", "tls.existingSecret=cert")).not.toBe(before);
  });

  test("one volume: the old server stops first; PostgreSQL and S3: the new one starts first", async () => {
    const strategy = async (...args: string[]) => one(await objects("stowhouse", ...args), "Deployment")["spec"].strategy;
    expect(await strategy()).toEqual({ type: "Recreate" });
    expect(await strategy("-f", path.join(VALUES, "server-full.yaml"))).toEqual({ type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } });
  });

  test("what the user lays over the pod wins, and selectors stay", async () => {
    const { spec } = one(await objects("stowhouse", "--set", "podSpec.terminationGracePeriodSeconds=7", "--set", "podLabels.app\\.kubernetes\\.io/name=other"), "Deployment");
    expect(spec.template.spec.terminationGracePeriodSeconds).toBe(7);
    expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels);
  });

  test("the server takes the configuration that the chart writes", async () => {
    const { resolveConfig } = await import("../../server/config.ts");
    const { protocolOptions } = await import("../../server/app.ts");
    const { data } = one(await objects("stowhouse", "-f", path.join(VALUES, "server-full.yaml")), "ConfigMap", "release-stowhouse");
    const config = resolveConfig(parse(data["config.yaml"]), { protocols: protocolOptions() });
    expect(config).toMatchObject({ url: "https://cache.example.com", metrics: { listen: { port: 9420 } }, tls: { cert: "/etc/stowhouse/tls/tls.crt" }, shutdown: { delay: 5000, drain: 20_000 } });
    expect(config.auth.github.rules[0]).toMatchObject({ repositoryId: 1296269 });
    expect(config.caches["team"]!.quota).toBe(10 * 1024 ** 3);
  });
});

describe("stowhouse-operator", () => {
  test("its definitions reach the cluster as they are written, and stay when it goes", async () => {
    const rendered = await objects("stowhouse-operator");
    for (const [name, kind] of [["cacheservers", "CacheServer"], ["cachekeys", "CacheKey"]]) {
      const crd = one(rendered, "CustomResourceDefinition", `${name}.stowhouse.dev`);
      expect(crd["spec"]).toEqual((parse(readFileSync(path.join(ROOT, `charts/stowhouse-operator/files/crds/${name}.yaml`), "utf8")) as { spec: object }).spec);
      expect(crd["spec"].names.kind).toBe(kind);
      expect(crd.metadata.annotations).toMatchObject({ "helm.sh/resource-policy": "keep" });
    }
    expect((await objects("stowhouse-operator", "--set", "crds.enabled=false")).filter(({ kind }) => kind === "CustomResourceDefinition")).toEqual([]);
  });

  test("never may list or watch Secrets, wherever it serves", async () => {
    for (const args of [[], ["--set", "watchNamespaces={a,b}"]]) {
      const roles = (await objects("stowhouse-operator", ...args)).filter(({ kind }) => kind.endsWith("Role"));
      const rules = roles.flatMap(({ rules: some }) => some as { resources: string[]; verbs: string[] }[]);
      const secrets = rules.filter(({ resources }) => resources.includes("secrets"));
      expect(secrets.length).toBeGreaterThan(0);
      for (const { verbs } of secrets) expect(verbs).toEqual(["get", "create", "patch", "delete"]);
      expect(rules.some(({ resources, verbs }) => [...resources, ...verbs].includes("*"))).toBe(false);
    }
  });

  test("with watchNamespaces it has rights in these and its own only", async () => {
    const rendered = await objects("stowhouse-operator", "--set", "watchNamespaces={a,b}");
    expect(rendered.filter(({ kind }) => kind === "ClusterRoleBinding")).toEqual([]);
    expect(rendered.filter(({ kind }) => kind === "RoleBinding").map(({ metadata }) => metadata.namespace)).toEqual(["a", "b", "cache"]);
    expect(one(rendered, "Deployment")["spec"].template.spec.containers[0].args).toEqual(expect.arrayContaining(["--namespace=a", "--namespace=b"]));
  });
});

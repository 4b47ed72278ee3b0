import { createPrivateKey, createPublicKey, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { SignJWT } from "jose";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { apply, condition, freshNamespace, get, list, patch, reaches, remove, Refused, request, type Thing } from "../cluster/cluster.ts";
import { installRights, isWrite, listen, mountToken, startOperator, tally, tokenFor, type Operator } from "../cluster/operator.ts";
import { compact, PROXY } from "../cluster/rig/control-plane.ts";
import { pki } from "../cluster/rig/pki.ts";
import { kill, release, until } from "../cluster/rig/processes.ts";
import { cacheServer } from "../cluster/servers.ts";

/** What goes wrong in clusters: the operator comes through by itself, and never runs in circles. Its writes are counted. */

let namespace: string;
let account: string;
let user: string;
let operator: Operator;

beforeAll(async () => {
  namespace = await freshNamespace("trouble");
  account = await installRights(namespace, { watchNamespaces: [namespace] });
  user = `system:serviceaccount:${namespace}:${account}`;
});
beforeEach(async () => {
  await start({ token: await tokenFor(namespace, account) });
  await apply(cacheServer(namespace, "cache", { replicas: 0 }));
  await reaches("CacheServer", namespace, "cache", "Ready", "False", 60, "ScaledToZero");
});
afterEach(async () => {
  release("apiserver");
  await operator.kill();
});

async function start(credential: object | undefined): Promise<Operator> {
  operator = await startOperator("operator", credential, { namespaces: [namespace], leaseNamespace: namespace });
  await until("it leads", 40, () => operator.leads(), () => operator.said());
  return operator;
}

const apiAnswers = () => until("the API server answers", 60, async () => (await fetch(`${PROXY}/readyz`)).ok);
const edit = (change: object) => patch("Service", namespace, "cache", change);
const isBack = (name: string, seconds: number) => until(`Service ${name} is back`, seconds, () => get("Service", namespace, name), () => operator.said().slice(-4000));

/** How many objects it writes while nothing happens; its lease is not among them. */
async function quiet(seconds: number): Promise<Record<string, number>> {
  const heard = listen(user);
  await setTimeout(seconds * 1000);
  return tally(heard().filter((call) => isWrite(call) && call.objectRef?.resource !== "leases"));
}

test("it writes nothing when there is nothing to do", async () => {
  await setTimeout(3000);
  // Longer than the pause after which Secrets are read again.
  expect(await quiet(37)).toEqual({});
});

test("kill -9 of the API server: it goes on where it was", async () => {
  kill("apiserver", { hold: true });
  await setTimeout(3000);
  release("apiserver");
  await apiAnswers();
  const began = performance.now();
  await remove("Service", namespace, "cache");
  await isBack("cache", 60);
  console.log(`worked again ${((performance.now() - began) / 1000).toFixed(1)} s after the API server`);
  expect(operator.child.exitCode, "the operator is the same process").toBeNull();
  await setTimeout(3000);
  expect(await quiet(10)).toEqual({});
});

test("what happened while it was blind is seen, though etcd has forgotten it", async () => {
  operator.child.kill("SIGSTOP");
  await remove("Service", namespace, "cache");
  await apply(cacheServer(namespace, "meanwhile", { replicas: 0 }));
  await compact();
  kill("apiserver");
  await setTimeout(500);
  await apiAnswers();
  await compact();
  operator.child.kill("SIGCONT");
  await Promise.all([isBack("cache", 90), isBack("meanwhile", 90)]);
  await remove("CacheServer", namespace, "meanwhile");
});

test("a token that expires is read again from its file", async () => {
  await operator.kill("SIGTERM");
  // The API server lets a token live a minute and some seconds longer than it says.
  const old = await shortToken(5);
  mountToken(namespace, old);
  await start(undefined);
  await until("the token is refused", 120, () => refused(old));
  mountToken(namespace, await tokenFor(namespace, account));
  await edit({ spec: { type: "NodePort" } });
  await until("the Service is as before", 60, async () => (await get("Service", namespace, "cache"))?.["spec"].type === "ClusterIP", () => operator.said().slice(-3000));
  await until("it leads still, or again", 30, () => operator.leads());
});

test("rights that are taken away are missed in a condition, without a storm, and it goes on when they are back", async () => {
  const roles = await rolesWith("services");
  const heard = listen(user);
  const began = performance.now();
  await ruling(roles, (role) => role["rules"].map(({ resources, ...rest }: Thing) => ({ ...rest, resources: resources.filter((one: string) => one !== "services") })));
  await remove("Service", namespace, "cache");
  const found = await reaches("CacheServer", namespace, "cache", "Degraded", "True", 60, "Forbidden");
  expect(condition(found, "Degraded")!.message).toMatch(/services/);
  await setTimeout(15_000);
  const calls = heard();
  console.log(`without rights for ${((performance.now() - began) / 1000).toFixed(0)} s:`, JSON.stringify(tally(calls)));
  expect(calls.filter((call) => isWrite(call) && call.objectRef?.resource !== "leases").length).toBeLessThan(80);
  await ruling(roles, (role) => role["rules"]);
  await isBack("cache", 60);
  await reaches("CacheServer", namespace, "cache", "Degraded", "False", 60);
});

test("somebody who changes a field back, again and again, is named, and the operator doesn't join the race", async () => {
  const heard = listen(user);
  const began = performance.now();
  let fights = 0;
  while (performance.now() - began < 30_000) {
    const service = await get("Service", namespace, "cache");
    if (service?.["spec"].type === "ClusterIP") {
      fights++;
      await edit({ spec: { type: "NodePort" } }).catch((error: unknown) => {
        if (!(error instanceof Refused)) throw error;
      });
    }
    await setTimeout(50);
  }
  const writes = heard().filter((call) => isWrite(call) && call.objectRef?.resource === "services");
  console.log(`fought ${fights} times, the operator wrote the Service ${writes.length} times in 30 s`);
  expect(writes.length).toBeLessThan(30);
  expect(writes.length).toBeGreaterThan(3);
  expect(condition(await reaches("CacheServer", namespace, "cache", "Degraded", "True", 10, "FieldConflict"), "Degraded")!.message).toMatch(/Service\/cache.*kubectl-edit/);
  await until("the last word is the spec's", 90, async () => (await get("Service", namespace, "cache"))?.["spec"].type === "ClusterIP");
});

/** The roles of the operator that speak of a resource. */
async function rolesWith(resource: string): Promise<Thing[]> {
  const all = [...(await list("Role", namespace)), ...(await list("ClusterRole")).filter(({ metadata }) => metadata.name.includes(namespace))];
  const found = all.filter((role) => role["rules"]?.some(({ resources }: { resources?: string[] }) => resources?.includes(resource)));
  expect(found.length).toBeGreaterThan(0);
  return found;
}

async function ruling(roles: readonly Thing[], rules: (role: Thing) => unknown): Promise<void> {
  for (const role of roles) await patch(role.kind as "Role", role.metadata.namespace, role.metadata.name, { rules: rules(role) });
}

/** A service account's token with an end of our choice: the API itself grants none under ten minutes. */
async function shortToken(seconds: number): Promise<string> {
  const key = createPrivateKey(readFileSync(pki("accounts.key")));
  const kid = createHash("sha256").update(createPublicKey(key).export({ type: "spki", format: "der" })).digest("base64url");
  const [{ metadata }, now] = [(await get("ServiceAccount", namespace, account))!, Math.floor(Date.now() / 1000)];
  const issuer = "https://kubernetes.default.svc";
  return new SignJWT({ "kubernetes.io": { namespace, serviceaccount: { name: account, uid: metadata["uid"] } } })
    .setProtectedHeader({ alg: "ES256", kid }).setIssuer(issuer).setAudience(issuer).setSubject(user).setIssuedAt(now).setNotBefore(now).setExpirationTime(now + seconds).sign(key);
}

async function refused(token: string): Promise<boolean> {
  const review = await request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token } });
  return review["status"].authenticated !== true;
}

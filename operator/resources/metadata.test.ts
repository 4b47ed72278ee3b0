import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { secretsOf } from "./inputs.ts";
import { metadata, podLabels, selectorLabels, selectorText } from "./metadata.ts";
import { serviceAccount } from "./serviceaccount.ts";

test("labels and annotations of the user's stand beside ours, never in their place", () => {
  const labels = { team: "ci", "app.kubernetes.io/instance": "other" };
  expect(metadata(cacheServer(), someInputs(), { labels, annotations: { a: "b" } })).toMatchObject({ labels: { team: "ci", "app.kubernetes.io/instance": "cache" }, annotations: { a: "b" } });
});

test("pods are found by labels that no change of the resource changes", () => {
  const selector = { "app.kubernetes.io/name": "stowhouse", "app.kubernetes.io/instance": "cache", "app.kubernetes.io/component": "server" };
  expect(selectorLabels(cacheServer({ image: { tag: "2" } }))).toEqual(selector);
  expect(selectorText(cacheServer())).toBe("app.kubernetes.io/name=stowhouse,app.kubernetes.io/instance=cache,app.kubernetes.io/component=server");
  expect(Object.keys(podLabels(cacheServer()))).not.toContain("app.kubernetes.io/version");
});

test("an account is made with the cloud's annotations and without a token, unless the user brings one", () => {
  expect(serviceAccount(cacheServer({ serviceAccount: { annotations: { role: "arn" } } }), someInputs())).toMatchObject({ metadata: { name: "cache", annotations: { role: "arn" } }, automountServiceAccountToken: false });
  expect(serviceAccount(cacheServer({ serviceAccount: { name: "own" } }), someInputs())).toBeUndefined();
});

test("the Secrets a server uses are known by name, field and whether a change needs a restart", () => {
  const uses = secretsOf(cacheServer({
    storage: { type: "S3", s3: { bucket: "b", credentialsSecret: { name: "bucket" } } },
    database: { type: "PostgreSQL", urlSecret: { name: "database", key: "uri" } },
    tls: { issuerRef: { name: "i" } },
  }));
  expect(uses.map(({ name, fields, reloaded }) => [name, fields, reloaded])).toEqual([
    ["cache-keys", ["admin-key"], true],
    ["database", ["uri"], false],
    ["bucket", ["accessKeyId", "secretAccessKey"], false],
    ["cache-tls", ["tls.crt", "tls.key"], true],
  ]);
  expect(secretsOf(cacheServer({ auth: { keysSecret: { name: "own" } } })).map(({ name }) => name)).toEqual(["own"]);
});

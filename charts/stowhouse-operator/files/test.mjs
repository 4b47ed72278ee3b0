// What `helm test` runs, in the operator's own image and as the operator: it is ready, its definitions are there, and it may
// do what it needs and no more.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

const { OPERATOR, NAMESPACE } = process.env;
const authorization = `Bearer ${readFileSync("/var/run/secrets/kubernetes.io/serviceaccount/token", "utf8").trim()}`;
const api = "https://kubernetes.default.svc";
const call = (url, headers = {}) => fetch(url, { headers, signal: AbortSignal.timeout(10_000) });

async function expectStatus(status, url, headers) {
  const answer = await call(url, headers);
  assert.equal(answer.status, status, `${url}: ${answer.status} ${(await answer.text()).slice(0, 500)}`);
  console.log(`ok: ${url} ${status}`);
}

// A new Service is not known to every node at once.
for (const end = Date.now() + 60_000; Date.now() < end && !(await call(`${OPERATOR}/readyz`).catch(() => undefined))?.ok; ) await setTimeout(500);
await expectStatus(200, `${OPERATOR}/readyz`);
const within = NAMESPACE === "" ? "" : `/namespaces/${NAMESPACE}`;
for (const kind of ["cacheservers", "cachekeys"]) await expectStatus(200, `${api}/apis/stowhouse.dev/v1alpha1${within}/${kind}?limit=1`, { authorization });
await expectStatus(403, `${api}/api/v1${within}/secrets?limit=1`, { authorization });

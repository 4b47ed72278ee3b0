// What `helm test` runs, in the server's own image: the server is ready, refuses strangers, and gives back what it was given.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

const { SERVER, WRITE_KEY_FILE, NIP } = process.env;
const headers = { authorization: `Bearer ${readFileSync(WRITE_KEY_FILE, "utf8").trim()}` };
const call = (path, options = {}) => fetch(SERVER + path, { signal: AbortSignal.timeout(10_000), ...options });

async function expectStatus(status, path, options) {
  const answer = await call(path, options);
  const text = await answer.clone().text();
  assert.equal(answer.status, status, `${options?.method ?? "GET"} ${path}: ${answer.status} ${text.slice(0, 500)}`);
  console.log(`ok: ${options?.method ?? "GET"} ${path} ${status}`);
  return answer;
}

// A new Service is not known to every node at once.
for (const end = Date.now() + 60_000; Date.now() < end && !(await call("/readyz").catch(() => undefined))?.ok; ) await setTimeout(500);
await expectStatus(200, "/readyz");
await expectStatus(401, "/v1/auth/whoami");
await expectStatus(200, "/v1/auth/whoami", { headers });
if (NIP === "true") {
  const body = randomBytes(256 * 1024);
  const form = new FormData();
  form.append("file", new Blob([body]), "artifact.tar.gz");
  form.append("metadata", JSON.stringify({ from: "helm test" }));
  await expectStatus(201, "/v1/artifacts/helm-test", { method: "POST", headers, body: form });
  const answer = await expectStatus(200, "/v1/download/helm-test", { headers });
  assert.ok(body.equals(Buffer.from(await answer.arrayBuffer())), "the server gave back other bytes");
  console.log("ok: saved and restored");
}

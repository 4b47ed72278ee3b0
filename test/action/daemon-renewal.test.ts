import { readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { situationOf } from "../../action/event.ts";
import { authenticate } from "../../action/identity.ts";
import { serverInputs } from "../../action/inputs.ts";
import { applicant } from "../../action/session.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { startIssuer, type FakeIssuer } from "../fixtures/issuer.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Machine } from "./act.ts";

/** Jobs that last longer than their tokens: here these live for seconds. */

const LIFE = 6;
const PROBE = path.join(import.meta.dirname, "probe.mjs");

let issuer: FakeIssuer;
let server: TestServer;
const daemons: TestDaemon[] = [];

beforeAll(async () => {
  issuer = await startIssuer();
  server = await startServer({
    config: { auth: { sessionLifetime: `${LIFE}s`, maxSessionLifetime: `${LIFE}s`, github: { issuer: issuer.url, rules: [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] }] } } },
  });
});
afterAll(async () => {
  await Promise.all(daemons.map((one) => one.stop()));
  await Promise.all([server.stop(), issuer.close()]);
});

const CREDENTIALS = {
  "GitHub's identity": { inputs: {}, env: () => ({ ACTIONS_ID_TOKEN_REQUEST_URL: issuer.requestUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: issuer.requestToken }) },
  "an API key": { inputs: { key: "write" }, env: () => ({}) },
};

/** A daemon as set-up starts it. */
async function start({ inputs, env }: (typeof CREDENTIALS)[keyof typeof CREDENTIALS], renews = true): Promise<TestDaemon> {
  const given: Record<string, string> = { server: server.url, ...inputs, ...("key" in inputs ? { key: server.writeKey } : {}) };
  const job = { GITHUB_EVENT_NAME: "push", GITHUB_REPOSITORY: "acme/app", ...env() };
  const [asked, situation] = [serverInputs((name) => given[name] ?? "", "key"), situationOf(job, {})];
  const { sessions } = await authenticate(asked, situation, job, { setSecret: () => {} });
  expect(sessions).toHaveLength(1);
  const servers = sessions.map(({ url, token, kind, expires }) => ({ url, token, session: { kind, expires } }));
  const daemon = await startTestDaemon(servers, renews ? { renewal: applicant(asked, situation, job) } : {});
  daemons.push(daemon);
  return daemon;
}

const artifact = ({ url, secret }: TestDaemon, init: RequestInit = {}) => fetch(`${url}/v1/artifacts/kept`, { ...init, headers: { authorization: `Bearer ${secret}`, connection: "close" } });

async function store(one: TestDaemon): Promise<void> {
  const body = new FormData();
  body.append("metadata", "{}");
  body.append("file", new Blob(["artifact"]), "artifact.tar.gz");
  expect((await artifact(one, { method: "POST", body })).status).toBe(201);
  await vi.waitFor(async () => expect((await artifact(one)).status).toBe(200), { timeout: 10_000 });
}

/** Hits all the time. */
async function hits(one: TestDaemon, ms: number): Promise<void> {
  for (const until = Date.now() + ms; Date.now() < until; await setTimeout(100)) expect((await artifact(one)).status, one.log()).toBe(200);
}

describe.concurrent.each(Object.entries(CREDENTIALS))("a job with %s", (_, credential) => {
  test("outlives its tokens, and the worker that had the last one", async () => {
    const one = await start(credential);
    await store(one);
    await hits(one, LIFE * 1000 + 1_500);
    await one.killWorker();
    await hits(one, LIFE * 1000);
    expect((await one.stop()).perProtocol).toMatchObject([{ protocol: "nip", stored: 1 }]);
  });
});

test.concurrent("without credentials to ask with, tools go on without a cache", async () => {
  const one = await start(CREDENTIALS["an API key"], false);
  await store({ ...one, url: server.url, secret: server.writeKey });
  await setTimeout(LIFE * 1000 + 500);
  expect((await artifact(one)).status).toBe(404);
});

test.concurrent("no credential of the job is in the environment of the daemon's processes", async () => {
  const secrets = { INPUT_KEY: "of the action alone", ACTIONS_ID_TOKEN_REQUEST_TOKEN: "of this step alone" };
  Object.assign(process.env, secrets);
  try {
    const { pid, secret } = await start(CREDENTIALS["an API key"]);
    const child = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    for (const one of [pid, child]) for (const hidden of [...Object.values(secrets), server.writeKey, secret]) expect(readFileSync(`/proc/${one}/environ`, "utf8")).not.toContain(hidden);
  } finally {
    for (const name of Object.keys(secrets)) delete process.env[name];
  }
});

test.concurrent("a whole job that outlives its token: tools hit, restore finds, and the last save is taken", async () => {
  const machine = await Machine.start();
  try {
    const ran = await machine.run(`
- uses: stowhouse/stowhouse@v1
  with: { server: "${server.url}", path: deps, cache-key: long }
- run: |
    mkdir deps && echo built > deps/a
    sleep ${LIFE + 1}
    "$STEP_NODE" ${PROBE} nothing late
- uses: stowhouse/stowhouse/action/save@v1
  with: { path: deps, key: late }`, { issuer, forced: { ACTIONS_RUNTIME_TOKEN: "github's own" } });
    expect(ran.exit, ran.log).toBe(0);
    expect(ran.json("probe")["stored"]).toBe("true");
    for (const key of ["late", "long"]) expect(ran.log).toContain(`Cache saved with key: ${key}`);
  } finally {
    machine.stop();
  }
});

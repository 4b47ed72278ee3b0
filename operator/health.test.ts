import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import { serveHealth, type HealthServer } from "./health.ts";

let server: HealthServer | undefined;
afterEach(() => server?.close());

test("probes answer 503 with the reason while something is wrong", async () => {
  let wrong: string | undefined;
  server = await serveHealth({ host: "127.0.0.1", port: 0 }, { registry: new Registry(), unhealthy: () => wrong, unready: () => "waiting for the first list of CacheServer" });
  const get = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${server!.port}${path}`);
    return [answer.status, (await answer.text()).trim()];
  };
  expect(await get("/healthz")).toEqual([200, "ok"]);
  wrong = "no answer from the API server for 700 s";
  expect(await get("/healthz?verbose")).toEqual([503, wrong]);
  expect(await get("/readyz")).toEqual([503, "waiting for the first list of CacheServer"]);
  expect((await get("/metrics"))[0]).toBe(200);
  expect((await get("/"))[0]).toBe(404);
});

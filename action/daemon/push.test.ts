import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { exposition, push } from "./push.ts";
import { addMetrics, noMetrics, type JobMetrics } from "./settings.ts";

const loopback = new Loopback();
afterEach(() => {
  vi.restoreAllMocks();
  return loopback.close();
});

const metrics: JobMetrics = {
  perProtocol: [{ protocol: "nip", hits: 2, misses: 1, stored: 1, failed: 0, bytesIn: 300, bytesOut: 200, msWaited: 1_500 }],
  breakerOpened: 1, unsentBytes: 7, restarts: 0,
};

describe("a job's metrics", () => {
  it("are text as Prometheus reads it, with escaped labels", () => {
    const lines = exposition(metrics, { repository: 'a "b"\\\n', "not a label": "x" }).split("\n");
    expect(lines).toContain('stowhouse_job_hits{repository="a \\"b\\"\\\\\\n",protocol="nip"} 2');
    expect(lines).toContain('stowhouse_job_waited_seconds{repository="a \\"b\\"\\\\\\n",protocol="nip"} 1.5');
    expect(lines.filter((line) => line.startsWith("# TYPE"))).toHaveLength(10);
    expect(exposition(noMetrics())).toContain("stowhouse_job_unsent_bytes 0\n");
  });

  it("are posted; a gateway that refuses, hangs up or is away is no trouble", async () => {
    const said = vi.spyOn(console, "error").mockImplementation(() => {});
    const taken: string[] = [];
    const url = await loopback.http((request, response) => {
      void text(request).then((body) => {
        taken.push(`${request.method} ${request.headers["content-type"]} ${String(request.headers["x-auth"])} ${body.includes('stowhouse_job_hits{job="x",protocol="nip"} 2')}`);
        response.writeHead(taken.length === 1 ? 204 : 500).end();
      });
    });
    await push({ url: url.href, headers: { "x-auth": "me" }, labels: { job: "x" } }, metrics);
    expect([taken, said.mock.calls.length]).toEqual([["POST text/plain; version=0.0.4 me true"], 0]);
    await push({ url: url.href }, metrics);
    await push({ url: (await loopback.dead()).href }, metrics);
    expect(said).toHaveBeenCalledTimes(2);
  });

  it("of several workers add up", () => {
    const sum = addMetrics(metrics, { ...metrics, restarts: 1, perProtocol: [...metrics.perProtocol, { ...metrics.perProtocol[0]!, protocol: "archive" }] });
    expect(sum).toMatchObject({ breakerOpened: 2, unsentBytes: 14, restarts: 1, perProtocol: [{ protocol: "nip", hits: 4, msWaited: 3_000 }, { protocol: "archive", hits: 2 }] });
    expect(metrics.perProtocol[0]!.hits).toBe(2);
  });
});

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Figures } from "./figures.ts";
import { exposition, push, type PushOptions } from "./metrics.ts";

const figures = new Figures();
figures.got("bundle", 1000, 3);
figures.got("bundle", 1000, 4);
figures.got("miss", 0, 70);

describe("the figures of a run", () => {
  it("are histograms with Prometheus' bounds", () => {
    const lines = exposition(figures, undefined, { labels: { job: "ci" }, vmHistograms: false }).split("\n");
    const buckets = lines.filter((line) => line.startsWith("stowhouse_go_get_duration_seconds_bucket"));
    expect(buckets.slice(1, 4)).toEqual(["0.002", "0.005", "0.01"].map((le, i) => `stowhouse_go_get_duration_seconds_bucket{job="ci",le="${le}"} ${i === 0 ? 0 : 2}`));
    expect(buckets.at(-1)).toBe('stowhouse_go_get_duration_seconds_bucket{job="ci",le="+Inf"} 3');
    expect(lines).toContain('stowhouse_go_get_duration_seconds_count{job="ci"} 3');
  });

  it("are histograms with VictoriaMetrics' ranges where they are wanted, without empty ones", () => {
    const text = exposition(figures, undefined, { labels: {}, vmHistograms: true });
    expect(text.match(/vmrange="[^"]*"} \d+/g)).toEqual(['vmrange="0.002...0.005"} 2', 'vmrange="0.05...0.1"} 1']);
    expect(text).not.toContain('le="');
  });
});

describe("a push", () => {
  let endpoint: Server;
  let seen: { method: string; headers: Record<string, unknown>; body: Buffer }[];
  let status: number;
  beforeEach(async () => {
    seen = [];
    status = 204;
    endpoint = createServer((request, response) => {
      void buffer(request).then((body) => {
        seen.push({ method: request.method!, headers: request.headers, body });
        response.writeHead(status).end();
      });
    });
    await once(endpoint.listen(0, "127.0.0.1"), "listening");
  });
  afterEach(() => {
    endpoint.closeAllConnections();
    endpoint.close();
  });
  const to = (more: Partial<PushOptions>) => push("metric 1\n", {
    endpoint: `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/metrics/job/go`, method: "POST", gzip: true, vmHistograms: false, labels: {}, headers: {}, ...more,
  });

  it.each([["POST", "POST"], ["PUT", "PUT"], ["put", "PUT"], ["GET", "POST"]])("by %s is sent by %s, with the headers that are wanted", async (method, sent) => {
    await to({ method, headers: { "x-team": "blue" } });
    expect(seen).toMatchObject([{ method: sent, headers: { "x-team": "blue", "content-encoding": "gzip" } }]);
    expect(gunzipSync(seen[0]!.body).toString()).toBe("metric 1\n");
  });

  it("is plain where it is wanted so", async () => {
    await to({ gzip: false });
    expect(seen[0]!.headers["content-encoding"]).toBeUndefined();
    expect(seen[0]!.body.toString()).toBe("metric 1\n");
  });

  it("that is not taken is an error, which says so", async () => {
    status = 400;
    await expect(to({})).rejects.toThrow("answered 400");
  });
});

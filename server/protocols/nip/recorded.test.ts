import { afterAll, beforeAll, expect, test } from "vitest";
import { startNip, type NipServer } from "../../../test/fixtures/nip.ts";
import { recordNip } from "../../../test/fixtures/recorded/nip.ts";
import type { RecordedRequest } from "../../../test/fixtures/recorded/request.ts";

let server: NipServer;
beforeAll(async () => void (server = await startNip()));
afterAll(() => server.stop());

const send = async ({ method, path, headers, body }: RecordedRequest) => {
  const response = await fetch(server.url + path, { method, headers, ...(body && { body: new Uint8Array(body) }) });
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
};

test("every request a client of nip's protocol sends succeeds", async () => {
  for (const request of await recordNip(send, server.write)) {
    const { status, body } = await send(request);
    expect([200, 201, 206], `${request.name}: ${body.toString("utf8")}`).toContain(status);
  }
});

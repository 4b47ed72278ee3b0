import { afterAll, beforeAll, expect, test } from "vitest";
import { startGha, type GhaServer } from "../../../test/fixtures/github-actions.ts";
import { recordGithubActions } from "../../../test/fixtures/recorded/github-actions.ts";
import type { RecordedRequest } from "../../../test/fixtures/recorded/request.ts";

let server: GhaServer;
beforeAll(async () => void (server = await startGha()));
afterAll(() => server.stop());

const send = async ({ method, path, headers, body }: RecordedRequest) => {
  const response = await server.app.inject({ method: method as "GET", url: path, headers, ...(body && { payload: body }) });
  return { status: response.statusCode, body: response.rawPayload };
};

test("every request a real client was seen to send succeeds", async () => {
  for (const request of await recordGithubActions(send, server.write)) {
    const { status, body } = await send(request);
    expect([200, 201, 204, 206], `${request.name}: ${body.toString("utf8")}`).toContain(status);
    if (request.headers["content-type"] === "application/json" && status === 200) expect(JSON.parse(body.toString("utf8"))).not.toHaveProperty("message");
  }
});

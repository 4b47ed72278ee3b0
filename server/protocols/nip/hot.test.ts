import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { startNip, upload, type NipServer } from "../../../test/fixtures/nip.ts";

describe.each([true, false])("hot downloads, with the hit-only front %s", (front) => {
  let server: NipServer;
  beforeAll(async () => void (server = await startNip({ memory: { front } })));
  afterAll(() => server.stop());

  /** Downloads as often as it takes for everything that is kept to be kept. */
  async function warm(key: string, bearer: string): Promise<{ headers: Record<string, string>; body: string }[]> {
    const answers = [];
    for (let i = 0; i < 3; i++) {
      const answer = await server.fetch(`/v1/download/${key}`, bearer);
      const { date: _, ...headers } = Object.fromEntries(answer.headers);
      answers.push({ headers, body: await answer.text() });
    }
    return answers;
  }

  it("are all the same, and look nothing up", async () => {
    await server.post("/v1/artifacts/hot", server.write, upload("hot"));
    const [first] = await warm("hot", server.read);
    expect(first).toMatchObject({ body: "hot", headers: { "content-type": "application/x-tar", "content-disposition": "inline; filename=artifact.tar.gz" } });
    const read = vi.spyOn(server.core.database, "read");
    const found = vi.spyOn(server.core.catalog, "get");
    expect(await warm("hot", server.read)).toEqual([first, first, first]);
    expect(read.mock.calls.map(([name]) => name)).toEqual([]);
    expect(found).toHaveBeenCalledTimes(front ? 0 : 3);
    vi.restoreAllMocks();
  });

  it("change with the next upload", async () => {
    for (const body of ["one", "two", "three"]) {
      await server.post("/v1/artifacts/changing", server.write, upload(body));
      expect((await warm("changing", server.read)).map((answer) => answer.body)).toEqual([body, body, body]);
    }
  });

  it("end with the key", async () => {
    const { key, info } = await server.identity.keys.create({ name: "short-lived", permission: "read" });
    await server.post("/v1/artifacts/revoked", server.write, upload("bytes"));
    await warm("revoked", key);
    await server.identity.keys.revoke(info.id);
    expect((await server.fetch("/v1/download/revoked", key)).status).toBe(401);
  });

  it("are for the key that asked", async () => {
    await server.post("/v1/artifacts/whose", server.write, upload("of main"));
    const other = await server.key({ permission: "write", scope: "team:other" });
    await warm("whose", server.read);
    expect((await server.fetch("/v1/download/whose", other)).status).toBe(404);
    await server.post("/v1/artifacts/whose", other, upload("of the other"));
    expect((await warm("whose", other))[2]!.body).toBe("of the other");
    expect((await warm("whose", server.read))[2]!.body).toBe("of main");
  });
});

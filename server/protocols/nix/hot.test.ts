import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, testPath } from "../../../test/fixtures/nix.ts";
import { nix } from "./index.ts";

describe.each([true, false])("hot narinfos, with the hit-only front %s", (front) => {
  let app: TestApp;
  let url: string;
  let writer: NixClient;
  let reader: NixClient;
  beforeAll(async () => {
    app = await startApp({ memory: { front } }, [nix]);
    url = `${await app.listen()}/nix/default`;
    writer = new NixClient(url, KEYS.write);
    reader = new NixClient(url, KEYS.read);
  });
  afterAll(() => app.close());

  const thrice = async (client: NixClient, path: string) => [await client.text(path), await client.text(path), await client.text(path)];

  it("are all the same, and cost neither a look-up nor a signature", async () => {
    const path = testPath("hot", randomBytes(100));
    await writer.push(path);
    const [first] = await thrice(reader, `/${path.hash}.narinfo`);
    const read = vi.spyOn(app.core.database, "read");
    const found = vi.spyOn(app.core.catalog, "get");
    expect(await thrice(reader, `/${path.hash}.narinfo`)).toEqual([first, first, first]);
    expect(read).not.toHaveBeenCalled();
    // The narinfo and its NAR.
    expect(found).toHaveBeenCalledTimes(front ? 0 : 6);
    vi.restoreAllMocks();
  });

  it("are gone with their NAR, and back with it", async () => {
    const path = testPath("gone");
    await writer.push(path);
    const narinfo = `/${path.hash}.narinfo`;
    const [text] = await thrice(reader, narinfo);
    expect(await new NixClient(url, KEYS.admin).status("DELETE", `/${path.info.url}`)).toBe(204);
    expect((await thrice(reader, narinfo)).map((one) => one.slice(0, 3))).toEqual(["404", "404", "404"]);
    await writer.push(path);
    expect(await thrice(reader, narinfo)).toEqual([text, text, text]);
  });

  it("are each scope's own, from its first push on", async () => {
    const path = testPath("whose", "of main");
    const pull = new NixClient(url, await nixKey(app, { permission: "write", scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false }));
    await writer.push(path);
    const [ofMain] = await thrice(reader, `/${path.hash}.narinfo`);
    expect(await thrice(pull, `/${path.hash}.narinfo`)).toEqual([ofMain, ofMain, ofMain]);
    await pull.push(testPath("whose", "of the pull"));
    expect(await thrice(reader, `/${path.hash}.narinfo`)).toEqual([ofMain, ofMain, ofMain]);
    expect((await thrice(pull, `/${path.hash}.narinfo`)).every((text) => text.includes("default-untrusted:"))).toBe(true);
  });
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { buildApp, defaultConfig } from "../app.ts";
import type { Grant } from "./grant.ts";

const keyspace = { name: "test", maxKeyLength: 100 };
const grant: Grant = { cache: "default", read: ["local:main"], write: "local:main", trusted: true, admin: false, actor: "key:test" };

test("a part that takes longer than a reservation may be idle keeps it alive; silence does not", async () => {
  const dir = mkdtempSync(join(tmpdir(), "uploads-"));
  const { core, close } = await buildApp(defaultConfig({ data: dir, log: { level: "silent" }, limits: { uploadIdle: "1s" } }));
  try {
    async function* slow() {
      for (let i = 0; i < 12; i++) {
        yield Buffer.from("x");
        await sleep(150);
      }
    }
    const upload = await core.uploads.reserve(grant, keyspace, "slow", "v");
    await core.uploads.part(upload, "0", 0, slow());
    expect(await core.uploads.commit(grant, keyspace, upload, { parts: ["0"] })).toMatchObject({ size: 12 });

    const idle = await core.uploads.reserve(grant, keyspace, "idle", "v");
    await sleep(1_100);
    await expect(core.uploads.part(idle, "0", 0, Buffer.from("x"))).rejects.toMatchObject({ code: "STOW_UPLOAD_GONE" });
  } finally {
    await close();
    rmSync(dir, { recursive: true });
  }
});

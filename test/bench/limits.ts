import { spawn } from "node:child_process";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSqlite } from "../../server/database/sqlite.ts";
import type { Figure } from "./measure.ts";
import { peakRss, resetPeak, startStowhouse } from "./processes.ts";
import { reserve, type Product } from "./product.ts";

const GIB = 1024 ** 3;

/** Peak resident memory while eight clients upload 1 GiB each at once. */
export async function benchMemory(server: Product, dir: string): Promise<Figure> {
  const file = join(dir, "1g");
  writeFileSync(file, "");
  truncateSync(file, GIB);
  const pid = server.pids()[0]!;
  resetPeak(pid);
  await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      const url = await reserve(server, `memory-${process.pid}-${i}`);
      const child = spawn("curl", ["-sS", "-f", "-T", file, "-H", "x-ms-blob-type: BlockBlob", "-H", "Expect:", "-o", "/dev/null", url], { stdio: ["ignore", "inherit", "inherit"] });
      const code = await new Promise((resolve) => child.once("exit", resolve));
      if (code !== 0) throw new Error(`upload ${i} failed with ${String(code)}`);
    }),
  );
  const peak = peakRss(pid);
  return { name: "RSS during 8 uploads of 1 GiB", value: `${peak.toFixed(0)} MiB`, goal: "≤ 256 MiB", met: peak <= 256 };
}

/** Time from exec to ready with a million entries in the index. */
export async function benchStart(dir: string, entries: number): Promise<Figure> {
  const data = join(dir, "data");
  mkdirSync(data, { recursive: true });
  const database = await openSqlite({ path: join(data, "stowhouse.db") });
  for (let from = 0; from < entries; from += 5_000) {
    await Promise.all(Array.from({ length: 5_000 }, (_, i) => {
      const n = from + i;
      const digest = n.toString(16).padStart(64, "0");
      return database.write("putEntry", {
        cache: "default", keyspace: "gha", scope: "local:main", key: `entry-${n}`, version: "v", metadata: null, trusted: true, expires: null, now: Date.now(), overwrite: false,
        audit: { at: Date.now(), actor: "bench", action: "put", cache: "default", keyspace: "gha", scope: "local:main", key: `entry-${n}`, size: 16, result: "ok", address: "" },
        blob: { digest, size: 16, store: null, name: null, bytes: new Uint8Array(16) },
      });
    }));
  }
  await database.close();
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const server = await startStowhouse(dir);
    times.push(server.readyMs);
    await server.stop();
  }
  rmSync(dir, { recursive: true });
  const slowest = Math.max(...times);
  return { name: `start with ${entries.toLocaleString("en")} entries`, value: `${(slowest / 1000).toFixed(2)} s`, goal: "ready in ≤ 2 s", met: slowest <= 2_000 };
}

import { randomBytes } from "node:crypto";
import { toNix32 } from "../../server/protocols/nix/nix32.ts";
import { testKey } from "../fixtures/nix-upstream.ts";
import { KEYS } from "../fixtures/stowhouse.ts";

/** Caches and limits under which a short load brings about everything a dashboard shows. @param upstream URL of a binary cache */
export const config = (upstream: string) => ({
  inlineLimit: "1KiB",
  caches: { default: { quota: "1GiB" }, small: { quota: "256KiB", entrySize: "128KiB" } },
  eviction: { interval: "100ms" },
  limits: { requestsPerMinute: 0 },
  protocols: { nix: { caches: { default: { upstreams: { away: { url: upstream, trustedKeys: [testKey("upstream-1").public.text] } } } } } },
});

/** One round of what clients do: saves, hits, misses, refusals, too large an entry, more than a quota holds, and a question to an upstream. */
export async function round(url: string, n: number): Promise<void> {
  const save = (cache: string, key: string, size: number, credential: string) => {
    const form = new FormData();
    form.append("file", new Blob([randomBytes(size)]), "artifact.tar.gz");
    form.append("metadata", "{}");
    return send(`${url}/c/${cache}/v1/artifacts/${key}`, credential, { method: "POST", body: form });
  };
  await save("default", `key-${n % 20}`, 64 * 1024, KEYS.write);
  await save("small", `key-${n}`, 100 * 1024, KEYS.admin);
  await save("small", "too-large", 200 * 1024, KEYS.admin);
  await save("default", "not-allowed", 1024, KEYS.read);
  for (const key of [`key-${n % 20}`, "away"]) {
    await send(`${url}/v1/artifacts/${key}`, KEYS.read);
    await send(`${url}/v1/download/${key}`, KEYS.read);
    await send(`${url}/c/small/v1/artifacts/key-${n}`, KEYS.admin);
  }
  await send(`${url}/nix/default/${toNix32(randomBytes(20))}.narinfo`, KEYS.read);
}

async function send(url: string, key: string, init: RequestInit = {}): Promise<void> {
  const answer = await fetch(url, { ...init, headers: { authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(10_000) });
  await answer.arrayBuffer();
}

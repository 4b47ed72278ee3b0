import { writeFileSync } from "node:fs";
import path from "node:path";

/**
 * A tool of the job that uses the GitHub Actions cache as its environment says: `node probe.mjs LOOKUP SAVE` looks one key up
 * and saves another. What it saw goes to $RESULTS/probe.
 */
const [lookup, save] = process.argv.slice(2);
const { ACTIONS_RESULTS_URL: url, ACTIONS_RUNTIME_TOKEN: token, RESULTS } = process.env;
const version = "a".repeat(64);

async function call(method, message) {
  const answer = await fetch(`${url}twirp/github.actions.results.api.v1.CacheService/${method}`, {
    method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ version, ...message }), signal: AbortSignal.timeout(10_000),
  });
  return { status: answer.status, ...(await answer.json()) };
}

const seen = { url: url ?? "", token: token ?? "", hit: "", stored: "", said: "" };
if (url) {
  const found = await call("GetCacheEntryDownloadURL", { key: lookup });
  seen.hit = found.ok ? await (await fetch(found.signed_download_url)).text() : "";
  const reserved = await call("CreateCacheEntry", { key: save });
  seen.said = reserved.message ?? reserved.msg ?? "";
  if (reserved.ok) {
    const body = "from the probe";
    await fetch(reserved.signed_upload_url, { method: "PUT", headers: { "x-ms-blob-type": "BlockBlob" }, body });
    const done = await call("FinalizeCacheEntryUpload", { key: save, size_bytes: String(body.length) });
    seen.stored = String(done.ok);
  }
}
writeFileSync(path.join(RESULTS, "probe"), JSON.stringify(seen));

import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";

/**
 * Writes dist/, which is committed because a runner takes the action from the repository as it is. The same sources give the
 * same bytes; a test builds it again and compares.
 */

const root = path.resolve(import.meta.dirname, "..");

const ENTRIES = {
  main: "action/main.ts",
  post: "action/post.ts",
  restore: "action/restore/main.ts",
  save: "action/save/main.ts",
  cache: "action/cache/main.ts",
  "cache-post": "action/cache/post.ts",
  // Threads and processes find their scripts beside the chunk that starts them.
  "save-worker": "action/client/archive/save-worker.ts",
  "restore-worker": "action/client/archive/restore-worker.ts",
  parent: "action/daemon/parent.ts",
  worker: "action/daemon/worker.ts",
  // go starts it for every command.
  gocacheprog: "action/gocacheprog.ts",
  "place-worker": "action/client/gocache/place-worker.ts",
};

/**
 * core asks for OIDC tokens through an HTTP client that weighs ten times what core does, and tries a dead server for minutes;
 * identity.ts asks by itself.
 */
const withoutHttp = {
  name: "core without HTTP",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@actions\/http-client/ }, ({ importer }) => (/[\\/]@actions[\\/]core[\\/]/.test(importer) ? { path: "http-client", namespace: "none" } : undefined));
    onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "export const HttpClient = undefined, BearerCredentialHandler = undefined;" }));
  },
};

/** @param {string} outdir emptied first @returns what was written, as esbuild's metafile */
export async function buildAction(outdir) {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root, entryPoints: ENTRIES, outdir, bundle: true, splitting: true, minify: true, metafile: true, write: false,
    plugins: [withoutHttp], platform: "node", target: "node24", format: "esm", outExtension: { ".js": ".mjs" }, chunkNames: "chunk-[hash]", legalComments: "linked", charset: "utf8", logLevel: "warning",
    banner: { js: "import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);" },
  });
  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(outdir, { recursive: true });
  for (const { path: file, contents } of outputFiles) writeFileSync(file, contents);
  return metafile;
}

if (import.meta.main) {
  const outdir = path.join(root, "dist");
  await buildAction(outdir);
  console.log(`${readdirSync(outdir).length} files in dist`);
}

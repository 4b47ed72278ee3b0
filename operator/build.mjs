import path from "node:path";
import { build } from "esbuild";

/** Writes build/operator.mjs, the whole operator in one file, with the licences of what it holds beside it. */

const root = path.resolve(import.meta.dirname, "..");
const client = path.join(root, "node_modules/@kubernetes/client-node/dist");

/**
 * The operator has a client of its own and takes of client-node how a kubeconfig is read. What that drags along for
 * client-node's client (an API for every kind, another HTTP client) is two thirds of the file and a sixth of the memory.
 */
const withoutClient = {
  name: "kubeconfig without its client",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({ path: path.join(client, "config.js") }));
    onResolve({ filter: /^undici$|^\.\/gen\/index\.js$/ }, ({ importer }) => (importer.startsWith(client) ? { path: "client", namespace: "none" } : undefined));
    onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "export const Agent = undefined, ProxyAgent = undefined, createConfiguration = undefined, ServerConfiguration = undefined;" }));
  },
};

/** @param {string} outdir */
export async function buildOperator(outdir) {
  await build({
    absWorkingDir: root, entryPoints: { operator: "operator/main.ts" }, outdir, bundle: true, minify: true, plugins: [withoutClient],
    platform: "node", target: "node24", format: "esm", outExtension: { ".js": ".mjs" }, legalComments: "linked", charset: "utf8", logLevel: "warning",
    banner: { js: "import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);" },
  });
}

if (import.meta.main) await buildOperator(path.join(root, "build"));

/**
 * Runs one call of @actions/cache as an action would: `node actions-cache.mjs LIBRARY save|restore '{"paths", "key", "restoreKeys", "options"}'`.
 * Its environment is the runner's. The last line it writes is `RESULT {"value"}` or `RESULT {"error"}`.
 */
import { pathToFileURL } from "node:url";

const [library, call, json] = process.argv.slice(2);
const { paths, key, restoreKeys, options } = JSON.parse(json);
const cache = await import(pathToFileURL(library).href);
try {
  const value = call === "save" ? await cache.saveCache(paths, key) : await cache.restoreCache(paths, key, restoreKeys, options);
  console.log(`\nRESULT ${JSON.stringify({ value })}`);
} catch (error) {
  console.log(`\nRESULT ${JSON.stringify({ error: `${error.name}: ${error.message}` })}`);
}
// A socket that is kept alive must not hold a test up.
process.exit();

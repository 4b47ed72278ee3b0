import { readFileSync } from "node:fs";

/** The version of this server. Beside the sources as beside the bundle, package.json lies one directory up. */
export const VERSION = (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }).version;

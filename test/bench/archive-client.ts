import { restoreArchive, saveArchive, type RestoreOptions } from "../../action/client/archive.ts";

/** One save or restore in a process of its own, as a step of a job is: `archive-client save|restore URL TOKEN OPTIONS`. */
const [call, url, token, json] = process.argv.slice(2) as [string, string, string, string];
const options = JSON.parse(json) as RestoreOptions;
const result = await (call === "save" ? saveArchive({ url, token }, options) : restoreArchive({ url, token }, options));
console.log(`\nRESULT ${JSON.stringify(result)}`);
process.exit();

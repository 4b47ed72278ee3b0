import { writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { definitions } from "../operator/crd.ts";
import { protocolOptions } from "../server/app.ts";

/** The files of this folder, by name: what operator/crd.ts says, for the protocols this server has. */
export function documents(): Record<string, string> {
  const files = Object.entries(definitions(protocolOptions()));
  return Object.fromEntries(files.map(([name, crd]) => [name, `# Made by \`npm run generate\` from operator/crd.ts. Change that, not this file.\n${stringify(crd, { lineWidth: 0, aliasDuplicateObjects: false })}`]));
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(documents())) writeFileSync(new URL(name, import.meta.url), text);
}

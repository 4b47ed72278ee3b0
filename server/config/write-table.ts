import { writeFileSync } from "node:fs";
import { configDocument } from "./table.ts";

writeFileSync(new URL("../CONFIG.md", import.meta.url), configDocument());

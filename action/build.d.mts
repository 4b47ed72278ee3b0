import type { Metafile } from "esbuild";

export function buildAction(outdir: string): Promise<Metafile>;

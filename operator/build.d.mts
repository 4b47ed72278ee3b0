/** Writes operator.mjs and its licences. */
export function buildOperator(outdir: string): Promise<void>;

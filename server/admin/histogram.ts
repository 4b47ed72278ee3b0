/**
 * The value below which the part `quantile` (0 to 1) of all observations lies, as near as buckets tell: inside its bucket
 * they are taken to be spread evenly. Undefined without observations; of the open last bucket only its start is known.
 * @param bounds upper bounds of the buckets, ascending
 * @param counts observations of each bucket, and of the open one after the last bound
 */
export function quantileOf(bounds: readonly number[], counts: readonly number[], quantile: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const rank = quantile * total;
  let below = 0;
  for (const [index, count] of counts.entries()) {
    if (count > 0 && below + count >= rank) {
      const from = index === 0 ? 0 : bounds[index - 1]!;
      return index === bounds.length ? from : from + ((bounds[index]! - from) * (rank - below)) / count;
    }
    below += count;
  }
  return undefined;
}

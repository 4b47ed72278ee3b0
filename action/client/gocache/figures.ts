/** Where an output came from. */
export type Where = "disk" | "bundle" | "server" | "miss";

/** Upper bounds of the histogram of waits, ms. */
export const WAITS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000] as const;

/** What one run did. */
export class Figures {
  readonly began = performance.now();
  readonly gets: Record<Where, { count: number; bytes: number; ms: number }> = { disk: zero(), bundle: zero(), server: zero(), miss: zero() };
  readonly waits = Array.from({ length: WAITS.length + 1 }, () => 0);
  puts = 0;
  putBytes = 0;
  receivedBytes = 0;
  errors = 0;

  got(where: Where, bytes: number, ms: number): void {
    const row = this.gets[where];
    row.count++;
    row.bytes += bytes;
    row.ms += ms;
    const slot = WAITS.findIndex((bound) => ms <= bound);
    this.waits[slot === -1 ? WAITS.length : slot]!++;
  }

  put(bytes: number): void {
    this.puts++;
    this.putBytes += bytes;
  }

  received(bytes: number): void {
    this.receivedBytes += bytes;
  }

  failed(): void {
    this.errors++;
  }

  get seconds(): number {
    return (performance.now() - this.began) / 1000;
  }
}

function zero() {
  return { count: 0, bytes: 0, ms: 0 };
}

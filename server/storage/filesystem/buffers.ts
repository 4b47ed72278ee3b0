const LARGE = 1024 * 1024;
const SMALL = 64 * 1024;

/**
 * Buffers for reading. Large ones are pooled and their number is bounded; when slow clients hold them all, readers go on
 * with small ones of their own instead of waiting for each other.
 */
export class Buffers {
  readonly #limit: number;
  readonly #free: Buffer[] = [];
  #made = 0;

  /** @param limit of pooled 1 MiB buffers */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A buffer of at most 1 MiB for reading up to `wanted` bytes. */
  lend(wanted: number): Buffer {
    if (wanted <= SMALL) return Buffer.allocUnsafe(wanted);
    const free = this.#free.pop();
    if (free) return free;
    if (this.#made === this.#limit) return Buffer.allocUnsafe(SMALL);
    this.#made++;
    return Buffer.allocUnsafeSlow(LARGE);
  }

  takeBack(buffer: Buffer): void {
    if (buffer.length === LARGE) this.#free.push(buffer);
  }
}

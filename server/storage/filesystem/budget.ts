/** A writer that holds bytes of the budget. */
export interface Holder {
  /** Start writing what you hold, however little: others wait for it. */
  press(): void;
  /** There is room again. */
  relieve(): void;
}

/**
 * The bytes that all writers of one store have taken in and not yet written, so that memory is bounded by the store and
 * not by the number of uploads. Taking never fails; who finds the budget overdrawn waits for `relieve`. As every holder is
 * pressed to write when it becomes overdrawn, no idle upload can keep the others waiting.
 */
export class Budget {
  readonly #limit: number;
  readonly #holders = new Set<Holder>();
  #used = 0;

  /** @param limit bytes; overdrawn by at most one chunk a writer */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  get overdrawn(): boolean {
    return this.#used > this.#limit;
  }

  join(holder: Holder): void {
    this.#holders.add(holder);
  }

  leave(holder: Holder): void {
    this.#holders.delete(holder);
  }

  take(bytes: number): void {
    const before = this.overdrawn;
    this.#used += bytes;
    if (this.overdrawn && !before) for (const holder of this.#holders) holder.press();
  }

  giveBack(bytes: number): void {
    const before = this.overdrawn;
    this.#used -= bytes;
    if (before && !this.overdrawn) for (const holder of this.#holders) holder.relieve();
  }
}

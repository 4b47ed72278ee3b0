/** How long a bucket that lacks its witness as well is not believed, ms. */
const DISBELIEF_MS = 60_000;

/**
 * Blobs that are known to have been in the bucket. One that was made anew, or a gateway whose disk is not mounted, says of
 * every blob that it is not there: as long as a witness is missing as well, nothing is taken for lost.
 */
export class Witnesses {
  /** Two, because one may be what is asked about. */
  readonly #names: string[] = [];
  #missingSince: number | undefined;

  /** A blob is in the bucket. */
  seen(name: string): void {
    if (this.#names.length < 2 && !this.#names.includes(name)) this.#names.push(name);
  }

  /** A blob is there no longer, and should not be. */
  removed(name: string): void {
    const index = this.#names.indexOf(name);
    if (index >= 0) this.#names.splice(index, 1);
  }

  /**
   * Resolves when a bucket may be believed that it lacks a blob; without a witness, it always is.
   * @param has whether the bucket has a blob
   * @throws when it lacks the witness too, and what `has` throws
   */
  async confirm(lost: string, has: (name: string) => Promise<boolean>): Promise<void> {
    const witness = this.#names.find((name) => name !== lost);
    if (witness === undefined || (await has(witness))) {
      this.#missingSince = undefined;
      return this.removed(lost);
    }
    this.#missingSince ??= Date.now();
    if (Date.now() - this.#missingSince < DISBELIEF_MS) throw new Error("the bucket lacks other blobs, too: it may be another one, or its disk may be away");
    this.#missingSince = undefined;
    this.#names.length = 0;
  }
}

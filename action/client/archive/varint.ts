/** Numbers of few bytes where they are small (LEB128), up to 2^53 - 1. */
export class VarintWriter {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = 0;

  unsigned(value: number): void {
    if (this.#length + 10 > this.#bytes.length) this.#grow();
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Small magnitudes stay small. */
  signed(value: number): void {
    this.unsigned(value < 0 ? -2 * value - 1 : 2 * value);
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(this.#bytes.length * 2);
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}

export class VarintReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** @throws FormatError at the end, or for a number that is too large */
  unsigned(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 0x80) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80 && Number.isSafeInteger(value)) return value;
    }
    throw new FormatError("a column is cut off or holds a number that is too large");
  }

  signed(): number {
    const value = this.unsigned();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** @throws FormatError unless all was read */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new FormatError("a column is longer than it should be");
  }
}

/** An archive that is not what it should be. */
export class FormatError extends Error {}

/** What came over the wire is none of a protocol's; the message says why and may be shown to whoever sent it. */
export class WireError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "WireError";
  }
}

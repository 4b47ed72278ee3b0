/**
 * Why an upstream gave no usable answer. Never shown to clients: what they get is decided by what all upstreams say together.
 * - `connect`, `timeout`: nobody there, or silent; `broken`: the connection ended in the middle;
 * - `status`: an answer that says neither yes nor no; `invalid`: an answer that is not what was asked for;
 * - `open`: it failed too often lately to be asked;
 * - `refused`: we don't go there (another host, a private address, a downgrade, too many redirects).
 */
export type FailureKind = "open" | "connect" | "timeout" | "broken" | "status" | "invalid" | "refused";

export class UpstreamFailure extends Error {
  readonly kind: FailureKind;
  readonly status: number | undefined;

  constructor(kind: FailureKind, message: string, options: { cause?: unknown; status?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UpstreamFailure";
    this.kind = kind;
    this.status = options.status;
  }
}

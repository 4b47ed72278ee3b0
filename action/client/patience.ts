/** Where an exchange ended: without a connection, without an answer, in the middle of a body, or because its caller gave up. */
export type Phase = "connect" | "answer" | "body" | "abort";

/** An exchange that did not end well; the message says what happened, for people. */
export class ExchangeError extends Error {
  readonly phase: Phase;

  constructor(phase: Phase, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.phase = phase;
  }
}

/** How long one exchange may wait, ms. */
export interface Patience {
  /** Until a connection stands. */
  readonly connect: number;
  /** Until the answer begins: from the start, or for an upload from its last byte. */
  readonly answer: number;
  /** Longest silence while a body flows. */
  readonly stall: number;
}

/** The one running wait of an exchange; when it is over, `fail` ends the exchange. */
export class Clock {
  readonly #patience: Patience;
  readonly #fail: (error: ExchangeError) => void;
  readonly #started = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(patience: Patience, fail: (error: ExchangeError) => void) {
    this.#patience = patience;
    this.#fail = fail;
  }

  connecting(): void {
    this.#wait("connect", this.#patience.connect, `no connection within ${seconds(this.#patience.connect)}`);
  }

  /** @param since from when on the server has all it needs to answer; default: the start */
  answering(since = this.#started): void {
    const { answer } = this.#patience;
    this.#wait("answer", Math.max(answer - (performance.now() - since), 1), `no answer within ${seconds(answer)}`);
  }

  flowing(): void {
    this.#wait("body", this.#patience.stall, `nothing moved for ${seconds(this.#patience.stall)}`);
  }

  /** Something moved. */
  touch(): void {
    this.#timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(phase: Phase, ms: number, message: string): void {
    this.stop();
    this.#timer = setTimeout(() => this.#fail(new ExchangeError(phase, message)), ms);
  }
}

function seconds(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}

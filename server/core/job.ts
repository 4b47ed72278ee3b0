/** What is known of a job: the one that runs, else the last one. Times in ms. */
export interface JobState<Options, Report> {
  /** Counts the jobs since the start of this process; 0: none yet. */
  readonly number: number;
  readonly state: "idle" | "running" | "done" | "failed";
  readonly options: Options | null;
  readonly started: number | null;
  readonly finished: number | null;
  /** The figures so far, or in the end. */
  readonly report: Report | null;
  readonly error: string | null;
}

type Work<Options, Report> = (options: Options, signal: AbortSignal, progress: (soFar: Report) => void) => Promise<Report>;

/** Long work that runs in the background, one at a time; whoever asks sees how far it is. */
export class Job<Options, Report> {
  readonly #work: Work<Options, Report>;
  readonly #stop = new AbortController();
  #state: JobState<Options, Report> = { number: 0, state: "idle", options: null, started: null, finished: null, report: null, error: null };
  #running: Promise<void> | undefined;

  constructor(work: Work<Options, Report>) {
    this.#work = work;
  }

  get state(): JobState<Options, Report> {
    return this.#state;
  }

  /** Starts, unless one is running: then undefined. The promise settles with the job and never rejects. */
  start(options: Options): Promise<void> | undefined {
    if (this.#running || this.#stop.signal.aborted) return undefined;
    this.#state = { number: this.#state.number + 1, state: "running", options, started: Date.now(), finished: null, report: null, error: null };
    const progress = (report: Report) => void (this.#state = { ...this.#state, report });
    this.#running = this.#work(options, this.#stop.signal, progress)
      .then(
        (report) => void (this.#state = { ...this.#state, state: "done", report }),
        (error: unknown) => void (this.#state = { ...this.#state, state: "failed", error: error instanceof Error ? error.message : String(error) }),
      )
      .then(() => {
        this.#state = { ...this.#state, finished: Date.now() };
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Stops what runs, at its next step, and waits for it. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

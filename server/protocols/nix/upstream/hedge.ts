export interface Raced<T> {
  readonly found: T | undefined;
  /** Why some could not say whether they have it. */
  readonly failures: readonly unknown[];
}

/**
 * Asks in order, each one when those before it have nothing or take longer than `delay`. The first that finds something
 * wins, and the others are told to stop.
 * @param ask resolves with undefined for "has none, for certain"
 */
export function hedged<S, T>(sources: readonly S[], delay: number, ask: (source: S, signal: AbortSignal) => Promise<T | undefined>): Promise<Raced<T>> {
  const stop = new AbortController();
  const failures: unknown[] = [];
  return new Promise((resolve) => {
    let next = 0;
    let running = 0;
    let timer: NodeJS.Timeout | undefined;
    const end = (found: T | undefined) => {
      clearTimeout(timer);
      next = sources.length;
      stop.abort(new Error("another one was quicker"));
      resolve({ found, failures });
    };
    const start = () => {
      clearTimeout(timer);
      if (next === sources.length) {
        if (running === 0) end(undefined);
        return;
      }
      running++;
      ask(sources[next++]!, stop.signal).then(
        (found) => {
          running--;
          if (found === undefined) start();
          else end(found);
        },
        (error: unknown) => {
          running--;
          if (!stop.signal.aborted) failures.push(error);
          start();
        },
      );
      if (next < sources.length) timer = setTimeout(start, delay);
    };
    start();
  });
}

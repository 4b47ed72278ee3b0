/** What the action asks of the runner, as @actions/core offers it; tests give their own. */
export interface Toolkit {
  getInput(name: string): string;
  setOutput(name: string, value: string): void;
  /** For this process and all later steps. */
  exportVariable(name: string, value: string): void;
  /** Hides a value in every log from here on. */
  setSecret(value: string): void;
  /** For the post step of the same action. */
  saveState(name: string, value: string): void;
  getState(name: string): string;
  info(message: string): void;
  notice(message: string): void;
  warning(message: string): void;
  setFailed(message: string): void;
  /** Adds Markdown to the job's summary. */
  summarize(markdown: string): Promise<void>;
}

export type Env = Readonly<Record<string, string | undefined>>;

/** A step as its process finds it. */
export interface Step {
  readonly toolkit: Toolkit;
  readonly env: Env;
  /** The webhook's payload; empty when the runner gave none. */
  readonly payload: Payload;
  readonly platform: NodeJS.Platform;
}

/** The fields of a payload that are looked at. */
export interface Payload {
  readonly pull_request?: { readonly head?: { readonly repo?: { readonly full_name?: string; readonly fork?: boolean } | null }; readonly user?: { readonly login?: string } };
  readonly sender?: { readonly login?: string };
}

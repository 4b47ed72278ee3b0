/** What a command knows of the process it runs in; server/cli.ts passes it, so nothing here reads `process`. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Results: what a script reads. */
  readonly stdout: Output;
  /** Progress and notes: what a person reads. */
  readonly stderr: Output;
}

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

import type { Connection, RestoreOptions, RestoreResult, ArchiveOptions, SaveResult } from "./client/archive.ts";
import type { Daemon, DaemonSettings } from "./daemon/start.ts";
import type { JobMetrics, StopOptions } from "./daemon/control.ts";
import type { Pushed, PushRequest } from "./nix/push.ts";
import type { NixRequest } from "./nix/setup.ts";
import type { Env, Step } from "./toolkit.ts";

/** GitHub's own cache, as @actions/cache speaks it. */
export interface GithubCache {
  isFeatureAvailable(): boolean;
  restoreCache(paths: string[], primaryKey: string, restoreKeys?: string[], options?: { lookupOnly?: boolean }, enableCrossOsArchive?: boolean): Promise<string | undefined>;
  saveCache(paths: string[], key: string, options?: object, enableCrossOsArchive?: boolean): Promise<number>;
}

/** What does the work; tests give their own. */
export interface Parts {
  saveArchive(connection: Connection, options: ArchiveOptions): Promise<SaveResult>;
  restoreArchive(connection: Connection, options: RestoreOptions): Promise<RestoreResult>;
  startDaemon(settings: DaemonSettings, env: Env): Promise<Daemon>;
  stopDaemon(stateDir: string, options: StopOptions): Promise<JobMetrics>;
  renewToken(stateDir: string, token: string, url?: string): Promise<boolean>;
  setUpNix(step: Step, request: NixRequest): Promise<void>;
  pushNix(request: PushRequest): Promise<Pushed>;
  undoNix(step: Step, directory: string): Promise<void>;
  /** Existing files and directories that match the patterns. */
  expand(patterns: readonly string[]): Promise<string[]>;
  githubCache(): Promise<GithubCache>;
}

/** Each is loaded when it is first used: most steps need few of them. */
export const parts: Parts = {
  saveArchive: async (...args) => (await import("./client/archive.ts")).saveArchive(...args),
  restoreArchive: async (...args) => (await import("./client/archive.ts")).restoreArchive(...args),
  startDaemon: async (...args) => (await import("./daemon/start.ts")).startDaemon(...args),
  stopDaemon: async (...args) => (await import("./daemon/control.ts")).stopDaemon(...args),
  renewToken: async (...args) => (await import("./daemon/control.ts")).renewToken(...args),
  setUpNix: async (...args) => (await import("./nix/setup.ts")).setUpNix(...args),
  pushNix: async (...args) => (await import("./nix/push.ts")).pushBuilt(...args),
  undoNix: async (...args) => (await import("./nix/setup.ts")).undoNix(...args),
  expand: async (patterns) => {
    const { create } = await import("@actions/glob");
    // As actions/cache: a directory is one match, not all that is below it.
    return (await create(patterns.join("\n"), { implicitDescendants: false })).glob();
  },
  githubCache: async () => await import("@actions/cache"),
};

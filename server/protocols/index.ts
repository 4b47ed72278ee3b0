import { archive } from "./archive/index.ts";
import { githubActions } from "./github-actions/index.ts";
import { go } from "./go/index.ts";
import { nip } from "./nip/index.ts";
import { nix } from "./nix/index.ts";
import type { Protocol } from "./protocol.ts";

/** Every protocol this server speaks. */
export const protocols: readonly Protocol[] = [githubActions, archive, nip, go, nix];

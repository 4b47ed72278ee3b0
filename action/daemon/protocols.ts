import type { ProtocolClient } from "../../server/protocols/client.ts";
import { client as archive } from "../../server/protocols/archive/client.ts";
import { client as githubActions } from "../../server/protocols/github-actions/client.ts";
import { client as go } from "../../server/protocols/go/client.ts";
import { client as nip } from "../../server/protocols/nip/client.ts";
import { client as nix } from "../../server/protocols/nix/client.ts";

/** Every protocol the daemon relays; nothing else of a server is reached through it, least of all its administration. */
export const clients: readonly ProtocolClient[] = [githubActions, nip, archive, go, nix];

import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import type { NixOptions } from "./options.ts";

/** Caches whose names are words of the protocol, so that they have no path below /nix. */
const WORDS = ["nar", "log", "realisations", "debuginfo", "build-trace-v2", "pubkey"];

/** Caches with a port of their own have it lead to their path. @throws config */
export function openPorts({ listeners, options }: Pick<ProtocolContext<NixOptions>, "listeners" | "options">): void {
  for (const [cache, { listen }] of Object.entries(options.caches)) {
    if (listen === undefined) continue;
    const field = `protocols.nix.caches.${cache}.listen`;
    if (WORDS.includes(cache)) throw errors.config(`${field}: a cache called ${cache} can't have a port of its own; give it another name`);
    listeners.add({ ...listen, mount: `/nix/${cache}`, field });
  }
}

import type { Keyspace } from "../../core/entry.ts";

/** NARs as they were sent, by the SHA-256 of the file: all scopes of a cache share them. Their metadata is a NarContent. */
export const NARS: Keyspace = { name: "nix-nar", contentAddressed: true, maxKeyLength: 64 };
/** By the hash in the store path; its metadata is a PathRecord. */
export const NARINFOS: Keyspace = { name: "nix-narinfo", maxKeyLength: 32, overwrite: true };
/** Both forms, by their id as text. */
export const REALISATIONS: Keyspace = { name: "nix-realisation", maxKeyLength: 512, overwrite: true };
/** What a path holds, by the hash in the store path. */
export const LISTINGS: Keyspace = { name: "nix-listing", maxKeyLength: 32, overwrite: true };
/** By the derivation's base name. */
export const LOGS: Keyspace = { name: "nix-log", maxKeyLength: 256, overwrite: true };
/** By the build id. */
export const DEBUGINFO: Keyspace = { name: "nix-debuginfo", maxKeyLength: 40, overwrite: true };
/** NARs that arrive in parts, by a number of their own, until they are whole; nothing is ever read here. */
export const PUSHES: Keyspace = { name: "nix-push", maxKeyLength: 36 };

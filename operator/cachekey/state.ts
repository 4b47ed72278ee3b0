import { hash } from "node:crypto";
import { GROUP, type KubeObject } from "../object.ts";
import { fieldOf } from "../secret.ts";

/**
 * What the operator has to know of a CacheKey's keys. It stands in an annotation of the Secret that holds the key, so that
 * both are written in one request: a crash leaves either all of a rotation or nothing of it. Times in ms.
 */
export interface KeyState {
  /** Id on the server of the key in the Secret. */
  readonly id: string;
  /** Digest of what it may do. */
  readonly grant: string;
  /** SHA-256 of the key: says whether the Secret still holds it. */
  readonly token: string;
  readonly issued: number;
  readonly expires?: number | undefined;
  /** Keys to be revoked when their time has come. */
  readonly previous: readonly { readonly id: string; readonly ends: number }[];
}

export const STATE = `${GROUP}/key-state`;

/** Undefined where there is none that can be understood: then there is no key. */
export function stateOf(secret: KubeObject | undefined): KeyState | undefined {
  try {
    const state = JSON.parse(secret?.metadata.annotations?.[STATE] ?? "null") as KeyState | null;
    return typeof state?.id === "string" && Array.isArray(state.previous) ? state : undefined;
  } catch {
    return undefined;
  }
}

export function fingerprint(token: string): string {
  return hash("sha256", token, "hex");
}

/** The key in the Secret, if it is the one of the state. */
export function tokenOf(secret: KubeObject | undefined, state: KeyState | undefined): string | undefined {
  const token = fieldOf(secret, "token");
  return token !== undefined && state !== undefined && fingerprint(token) === state.token ? token : undefined;
}

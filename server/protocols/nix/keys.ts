import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { fromBase64 } from "./hash.ts";
import { WireError } from "../wire.ts";

/** ASN.1 in front of the 32 bytes of an ed25519 key (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI = Buffer.from("302a300506032b6570032100", "hex");
const NAME = /^[^\s:,;]{1,255}$/;

/** Checks signatures made under one name. */
export class PublicKey {
  readonly name: string;
  /** `name:base64`, as clients' `trusted-public-keys` list it. */
  readonly text: string;
  readonly #key: KeyObject;

  constructor(name: string, bytes: Buffer) {
    this.name = name;
    this.text = `${name}:${bytes.toString("base64")}`;
    this.#key = createPublicKey({ key: Buffer.concat([SPKI, bytes]), format: "der", type: "spki" });
  }

  /** Whether `name:base64` is this key's signature of a text. */
  verifies(text: string, signature: string): boolean {
    const colon = signature.indexOf(":");
    const bytes = signature.slice(0, colon) === this.name ? fromBase64(signature.slice(colon + 1), 64) : undefined;
    return bytes !== undefined && verify(null, Buffer.from(text), this.#key, bytes);
  }
}

export class SecretKey {
  readonly public: PublicKey;
  readonly #key: KeyObject;

  /** @param seed 32 bytes */
  constructor(name: string, seed: Buffer) {
    this.#key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#key).export({ format: "der", type: "spki" });
    this.public = new PublicKey(name, spki.subarray(SPKI.length));
  }

  get name(): string {
    return this.public.name;
  }

  /** `name:base64`, as a narinfo's `Sig`. */
  sign(text: string): string {
    return `${this.name}:${sign(null, Buffer.from(text), this.#key).toString("base64")}`;
  }
}

/** A file of `nix-store --generate-binary-cache-key`: `name:base64(seed, public key)`. @throws WireError, without any of its bytes */
export function parseSecretKey(text: string): SecretKey {
  const { name, bytes } = parts(text, 64, "secret");
  const key = new SecretKey(name, bytes.subarray(0, 32));
  if (key.public.text !== `${name}:${bytes.subarray(32).toString("base64")}`) throw new WireError(`the halves of the secret key ${name} don't belong together`);
  return key;
}

/** @throws WireError */
export function parsePublicKey(text: string): PublicKey {
  const { name, bytes } = parts(text, 32, "public");
  return new PublicKey(name, bytes);
}

function parts(text: string, size: number, kind: string): { name: string; bytes: Buffer } {
  const colon = text.indexOf(":");
  const name = text.slice(0, Math.max(colon, 0));
  const bytes = fromBase64(text.slice(colon + 1).trim(), size);
  if (!NAME.test(name) || !bytes) throw new WireError(`this is no ${kind} key; write name:base64`);
  return { name, bytes };
}

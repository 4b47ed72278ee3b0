import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import { bits, explicit, implicit, integer, octets, oid, sequence, set, time, TRUE, utf8, type Der } from "./der.ts";
import type { Identity } from "./settings.ts";

export interface Issued {
  /** The authority's certificate, PEM: what the job's tools trust. */
  readonly authority: string;
  /** The certificate and key of the one host it was made for. */
  readonly identity: Identity;
}

const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const COMMON_NAME = oid("2.5.4.3");
const SUBJECT_KEY = "2.5.29.14";
const KEY_USAGE = "2.5.29.15";
const SUBJECT_NAMES = "2.5.29.17";
const BASIC = "2.5.29.19";
const NAME_CONSTRAINTS = "2.5.29.30";
const AUTHORITY_KEY = "2.5.29.35";
const EXTENDED_USAGE = "2.5.29.37";
const SERVER_AUTH = oid("1.3.6.1.5.5.7.3.1");

const HOUR = 60 * 60_000;
/** Jobs of self-hosted runners end after five days. */
const LIFETIME = 6 * 24 * HOUR;

/**
 * A certificate authority for this job and one certificate of it. The authority's key is forgotten here, so that nobody can
 * ever sign another; and it is limited to that host (RFC 5280 §4.2.1.10), should it outlive the job in somebody's trust store.
 */
export function issue(host: string): Issued {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = "Stowhouse job authority";
  const issuer = { name, key: authority.privateKey, public: authority.publicKey };
  const own = certificate(issuer, name, authority.publicKey, [
    extension(BASIC, sequence(TRUE), true),
    // keyCertSign
    extension(KEY_USAGE, bits(Buffer.from([0x04]), 2), true),
    extension(NAME_CONSTRAINTS, sequence(explicit(0, subtree(host))), true),
    extension(SUBJECT_KEY, octets(keyId(authority.publicKey))),
  ]);
  const hosts = certificate(issuer, host, leaf.publicKey, [
    extension(BASIC, sequence(), true),
    // digitalSignature
    extension(KEY_USAGE, bits(Buffer.from([0x80]), 7), true),
    extension(EXTENDED_USAGE, sequence(SERVER_AUTH)),
    extension(SUBJECT_NAMES, sequence(generalName(host))),
    extension(AUTHORITY_KEY, sequence(implicit(0, keyId(authority.publicKey)))),
  ]);
  return { authority: pem(own), identity: { key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString(), certificate: pem(hosts) } };
}

function certificate(issuer: { name: string; key: KeyObject; public: KeyObject }, subject: string, key: KeyObject, extensions: Der[]): Der {
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ECDSA_SHA256,
    distinguished(issuer.name),
    // Clocks of containers and runners may differ a little.
    sequence(time(new Date(Date.now() - HOUR)), time(new Date(Date.now() + LIFETIME))),
    distinguished(subject),
    key.export({ type: "spki", format: "der" }),
    explicit(3, sequence(...extensions)),
  );
  return sequence(body, ECDSA_SHA256, bits(sign("sha256", body, issuer.key)));
}

function distinguished(commonName: string): Der {
  // RFC 5280 allows 64 characters.
  return sequence(set(sequence(COMMON_NAME, utf8(commonName.slice(0, 64)))));
}

function extension(id: string, content: Der, critical = false): Der {
  return critical ? sequence(oid(id), TRUE, octets(content)) : sequence(oid(id), octets(content));
}

function generalName(host: string): Der {
  return isIP(host) ? implicit(7, address(host)) : implicit(2, Buffer.from(host));
}

function subtree(host: string): Der {
  const bytes = isIP(host) ? address(host) : undefined;
  return sequence(bytes ? implicit(7, Buffer.concat([bytes, Buffer.alloc(bytes.length, 0xff)])) : implicit(2, Buffer.from(host)));
}

function address(host: string): Buffer {
  if (isIP(host) !== 4) throw new Error("an IPv6 address can't be intercepted; name the host");
  return Buffer.from(host.split(".").map(Number));
}

function keyId(key: KeyObject): Buffer {
  return createHash("sha1").update(key.export({ type: "spki", format: "der" })).digest();
}

function pem(der: Der): string {
  return `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replace(/.{64}(?=.)/g, "$&\n")}\n-----END CERTIFICATE-----\n`;
}

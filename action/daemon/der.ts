/** The few types of ASN.1 a certificate consists of, in DER (X.690). */

export type Der = Buffer;

function value(tag: number, content: Buffer): Der {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  const significant = bytes.subarray(bytes.findIndex((byte) => byte > 0));
  return Buffer.concat([Buffer.from([tag, 0x80 | significant.length]), significant, content]);
}

export const sequence = (...parts: Der[]): Der => value(0x30, Buffer.concat(parts));
export const set = (...parts: Der[]): Der => value(0x31, Buffer.concat(parts));
export const utf8 = (text: string): Der => value(0x0c, Buffer.from(text));
export const octets = (content: Buffer): Der => value(0x04, content);
export const TRUE: Der = value(0x01, Buffer.from([0xff]));
/** @param unused bits at the end of the last byte */
export const bits = (content: Buffer, unused = 0): Der => value(0x03, Buffer.concat([Buffer.from([unused]), content]));
/** A number that is not negative, big-endian. */
export const integer = (content: Buffer): Der => value(0x02, content[0]! & 0x80 ? Buffer.concat([Buffer.from([0]), content]) : content);
/** `[n]` around a value. */
export const explicit = (n: number, content: Der): Der => value(0xa0 | n, content);
/** `[n]` in place of a primitive value's tag. */
export const implicit = (n: number, content: Buffer): Der => value(0x80 | n, content);

/** UTCTime, which RFC 5280 demands until 2049. */
export function time(at: Date): Der {
  return value(0x17, Buffer.from(`${at.toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`));
}

export function oid(dotted: string): Der {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return value(0x06, Buffer.from(bytes));
}

import { lookup as resolve, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { UpstreamFailure } from "./failure.ts";

/** How near an address is: 0 public, 1 private, 2 this machine; `NOWHERE` is what no upstream has any business with. */
export type Reach = 0 | 1 | 2 | typeof NOWHERE;
export const NOWHERE = Number.POSITIVE_INFINITY;

const LOCAL = blocked(["127.0.0.0", 8], ["::1", 128]);
const PRIVATE = blocked(["10.0.0.0", 8], ["172.16.0.0", 12], ["192.168.0.0", 16], ["100.64.0.0", 10], ["fc00::", 7]);
/** Link-local (the clouds' metadata services live there), unspecified, test, multicast, and translations which hide another address. */
const RESERVED = blocked(
  ["0.0.0.0", 8], ["169.254.0.0", 16], ["192.0.0.0", 24], ["192.0.2.0", 24], ["198.18.0.0", 15], ["198.51.100.0", 24], ["203.0.113.0", 24], ["224.0.0.0", 3],
  ["::", 128], ["fe80::", 10], ["fec0::", 10], ["ff00::", 8], ["64:ff9b::", 96], ["64:ff9b:1::", 48], ["100::", 64], ["2001::", 32], ["2001:db8::", 32], ["2002::", 16],
);

function blocked(...networks: readonly (readonly [address: string, bits: number])[]): BlockList {
  const list = new BlockList();
  for (const [address, bits] of networks) list.addSubnet(address, bits, isIP(address) === 4 ? "ipv4" : "ipv6");
  return list;
}

/** How near an IP address is; `::ffff:a.b.c.d` counts as a.b.c.d. */
export function reachOf(address: string): Reach {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  const plain = mapped ?? address.split("%", 1)[0]!;
  const family = isIP(plain);
  if (family === 0) return NOWHERE;
  const type = family === 4 ? "ipv4" : "ipv6";
  if (LOCAL.check(plain, type)) return 2;
  if (PRIVATE.check(plain, type)) return 1;
  return RESERVED.check(plain, type) ? NOWHERE : 0;
}

/**
 * Resolves names for a connection and leaves out what lies nearer than allowed: the check is made on the very address that is
 * connected to, so a name can't be one thing when it is checked and another when it is used.
 * @param allowed asked at each connection
 */
export function guardedLookup(allowed: () => Reach): LookupFunction {
  return (hostname, options, done) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) return done(error, []);
      const fit = (found as LookupAddress[]).filter(({ address }) => reachOf(address) <= allowed());
      const first = fit[0];
      if (!first) return done(new UpstreamFailure("refused", `${hostname} is a private address`), []);
      if (options.all) done(null, fit);
      else done(null, first.address, first.family);
    });
  };
}

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { BUNDLE, BUNDLE_HEAD_BYTES, formatHead, ID_BYTES, parseBundleHead, RecordParser } from "../../server/protocols/go/wire.ts";

/** Of so many outputs in a bundle one is changed; alone, each is. */
const EVERY = 25;

/** A server's relay that changes bytes of outputs and leaves everything that is said of them as it is. */
export async function startLiar(upstream: string): Promise<{ readonly url: string; lies(): number; stop(): Promise<void> }> {
  let lies = 0;
  const flip = (body: Buffer) => {
    const changed = Buffer.from(body);
    changed[changed.length >> 1]! ^= 0x20;
    lies++;
    return changed;
  };
  const changedBundle = (bytes: Buffer) => {
    const end = BUNDLE_HEAD_BYTES + parseBundleHead(bytes) * ID_BYTES;
    const records = [...new RecordParser(bytes.length).push(bytes.subarray(end))];
    return Buffer.concat([bytes.subarray(0, end), ...records.flatMap(({ head, body }, i) => [formatHead(head), body.length > 0 && i % EVERY === 0 ? flip(body) : body])]);
  };
  const server = createServer((request, response) => {
    void (async () => {
      const sent = await buffer(request);
      const answer = await fetch(upstream + request.url!, {
        method: request.method!, headers: { authorization: request.headers.authorization! }, ...(request.method === "GET" ? {} : { body: new Uint8Array(sent) }),
      });
      const body = Buffer.from(await answer.arrayBuffer());
      const changed = answer.status !== 200 || body.length === 0 ? body : request.url!.startsWith(BUNDLE) ? changedBundle(body) : request.method === "GET" ? flip(body) : body;
      const headers = Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith("x-cacheprog") || name === "last-modified"));
      response.writeHead(answer.status, { ...headers, "content-length": changed.length }).end(changed);
    })().catch(() => response.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lies: () => lies,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

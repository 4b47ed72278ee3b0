import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { KubeError } from "./kube-error.ts";
import { readLines } from "./lines.ts";

const stream = (chunks: Iterable<Uint8Array>) => Readable.from(chunks, { objectMode: false }) as unknown as IncomingMessage;
async function all(response: IncomingMessage, quiet = 5_000): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLines(response, quiet)) lines.push(line);
  return lines;
}

test("lines come whole, wherever the network cuts them", async () => {
  const words = fc.array(fc.string({ unit: "grapheme", minLength: 1 }).filter((word) => word.trim() !== "" && !word.includes("\n")), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(words, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), async (lines, sizes) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const chunks: Buffer[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) chunks.push(bytes.subarray(at, (at += sizes[i % sizes.length]!)));
      expect(await all(stream(chunks))).toEqual(lines);
    }),
    { numRuns: 50 },
  );
});

test("a stream that breaks off gives what came whole, and an error", async () => {
  const broken = Readable.from((function* () {
    yield Buffer.from('{"a":1}\n{"b":');
    throw new Error("reset");
  })()) as unknown as IncomingMessage;
  const lines: string[] = [];
  await expect((async () => {
    for await (const line of readLines(broken, 5_000)) lines.push(line);
  })()).rejects.toMatchObject({ name: "KubeError", reason: "Unreachable" });
  expect(lines).toEqual(['{"a":1}']);
});

test("a silent stream is given up, an endless line refused", async () => {
  const silent = new Readable({ read() {} }) as unknown as IncomingMessage;
  await expect(all(silent, 30)).rejects.toMatchObject({ reason: "TimedOut" });
  const endless = stream(Array.from({ length: 17 }, () => Buffer.alloc(1 << 20, "x")));
  await expect(all(endless)).rejects.toBeInstanceOf(KubeError);
});

test("who leaves the loop ends the connection", async () => {
  const response = stream([Buffer.from("a\nb\n")]);
  for await (const line of readLines(response, 5_000)) {
    expect(line).toBe("a");
    break;
  }
  expect(response.destroyed).toBe(true);
});

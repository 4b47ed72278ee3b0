import { Readable, pipeline, type Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import { errors, StowError } from "../../core/errors.ts";

const DECODERS: Readonly<Record<string, () => Transform>> = { zstd: createZstdDecompress, gzip: createGunzip, br: createBrotliDecompress, deflate: createInflate };

/** A body without its Content-Encoding, and no longer than `limit` bytes then. @throws unsupported, badRequest, tooLarge */
export async function* decoded(body: AsyncIterable<Buffer>, encoding: string | undefined, limit: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of plain(body, (encoding ?? "identity").trim().toLowerCase())) {
    size += chunk.length;
    if (size > limit) throw errors.tooLarge(`${limit} bytes`);
    yield chunk;
  }
}

export async function whole(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* plain(body: AsyncIterable<Buffer>, encoding: string): AsyncGenerator<Buffer> {
  if (encoding === "identity" || encoding === "") return yield* body;
  const make = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding]! : undefined;
  if (!make) throw errors.unsupported(`Content-Encoding ${encoding.slice(0, 20)}; send ${Object.keys(DECODERS).join(", ")} or none`);
  const decoder = make();
  // Its error comes out of the decoder.
  pipeline(Readable.from(body), decoder, () => {});
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    throw error instanceof StowError ? error : errors.badRequest(`the body is not ${encoding}`);
  } finally {
    decoder.destroy();
  }
}

import { errors } from "../../core/errors.ts";

/** Azure's limits for a block blob. */
const MAX_BLOCKS = 50_000;
const MAX_ID_BYTES = 64;
/** The longest list: 50,000 ids of 64 bytes in base64, each with its tags and some white space. */
export const MAX_BLOCK_LIST = 8 * 1024 * 1024;

/** Where the list wants a block taken from: what was sent since the last list, what that list made, or the newer of both. */
export type BlockSource = "Uncommitted" | "Committed" | "Latest";

export interface ListedBlock {
  readonly id: string;
  readonly source: BlockSource;
}

const PROLOG = /^\uFEFF?\s*(?:<\?xml[^>]{0,200}\?>)?\s*/;
const BLOCK = /<(Uncommitted|Committed|Latest)>\s*([A-Za-z0-9+/=]{1,88})\s*<\/\1>\s*/y;

/** The id of a block as the client names it. @throws badRequest unless it is base64 of 1 to 64 bytes */
export function blockId(text: string): string {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length === 0 || bytes.length > MAX_ID_BYTES || bytes.toString("base64") !== text) throw errors.badRequest("a block id is not base64 of 1 to 64 bytes");
  return text;
}

/**
 * The body of Put Block List: the order and the choice of blocks are the list's, never the ids'.
 * @throws badRequest for anything else, and for an id that is listed twice
 */
export function parseBlockList(xml: string): ListedBlock[] {
  const open = PROLOG.exec(xml)![0].length;
  if (/^<BlockList\s*\/>\s*$/.test(xml.slice(open, open + 100))) return [];
  const begin = /^<BlockList>\s*/.exec(xml.slice(open, open + 1000));
  if (!begin) throw errors.badRequest("the body is not a block list");
  const blocks = new Map<string, ListedBlock>();
  let at = open + begin[0].length;
  for (;;) {
    BLOCK.lastIndex = at;
    const match = BLOCK.exec(xml);
    if (!match) break;
    at = BLOCK.lastIndex;
    const id = blockId(match[2]!);
    if (blocks.has(id)) throw errors.badRequest("a block is listed twice");
    if (blocks.size === MAX_BLOCKS) throw errors.badRequest(`the list has more than ${MAX_BLOCKS} blocks`);
    blocks.set(id, { id, source: match[1] as BlockSource });
  }
  if (!/^<\/BlockList>\s*$/.test(xml.slice(at))) throw errors.badRequest("the body is not a block list");
  return [...blocks.values()];
}

/**
 * How the bytes of a block blob are kept as parts of an upload. Sent blocks wait under `u:<id>` and count for nothing; a
 * block list turns those it names into `c:<id>`, in its order; Put Blob is the one part `blob` and supersedes them all.
 */
export const WHOLE_BLOB = "blob";
export const UNLISTED = -1;

export const sentBlock = (id: string) => `u:${id}`;
const listedBlock = (id: string) => `c:${id}`;

/** Where each place of a list finds its block, and what it is called from then on. */
export function placesOf(list: readonly ListedBlock[]): { from: string[]; to: string }[] {
  return list.map(({ id, source }) => ({
    from: source === "Latest" ? [sentBlock(id), listedBlock(id)] : [source === "Committed" ? listedBlock(id) : sentBlock(id)],
    to: listedBlock(id),
  }));
}

/** The parts a blob consists of, in order; undefined when neither a blob nor a list was put. @param parts by position */
export function bodyOf(parts: readonly { readonly name: string }[]): string[] | undefined {
  if (parts.some(({ name }) => name === WHOLE_BLOB)) return [WHOLE_BLOB];
  const listed = parts.filter(({ name }) => name.startsWith("c:")).map(({ name }) => name);
  return listed.length > 0 ? listed : undefined;
}
